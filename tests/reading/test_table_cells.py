"""Of forty cells asked for by row and column over five formats, at least 34 stand in the first passage of a search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from table_cells import FORMATS, found, made

from sharedllm_cli.config import TreeConfig
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.progress import Silent
from sharedllm_cli.reading.library import Shelf
from sharedllm_cli.reading.searching import found_passages
from sharedllm_cli.retrieval import bm25
from sharedllm_cli.retrieval.rows import credited

SEED, EACH, LEAST = 3, 8, 7


@pytest.mark.parametrize("kind", FORMATS)
def test_cells_stand_in_the_first_passage(kind: str, tmp_path: Path, byte_tokenizer: Any) -> None:
    data, cells = made(kind, SEED, EACH)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(data)
    tree = TreeConfig(chunk_tokens=1600, height=3)
    shelf = Shelf(IndexStore(tmp_path / "indexes", Silent()), lambda: byte_tokenizer, "bytes", tree, Silent())
    opened = shelf.open([str(path)]).documents
    indexes = [one.leaves.lexical for one in opened]
    hits = 0
    for cell in cells:
        lexical = bm25.scores(cell.question, indexes)
        scores = credited(cell.question, lexical, indexes, [one.rows for one in opened]).values
        first = found_passages(opened, scores, limit=8)
        hits += bool(first) and found(cell, first[0].quote)
    assert hits >= LEAST
