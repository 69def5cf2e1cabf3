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
from sharedllm_cli.retrieval.tables import credited

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


TIDES = """<h1>Tides at Kessel</h1><p>Times for the pier, in January 2026.</p><table>
<tr><th>Day</th><th>High water</th><th>Height</th></tr><tr><td>5 January</td><td>04:12</td><td>3.4 m</td></tr>
<tr><td>6 January</td><td>04:57</td><td>3.6 m</td></tr>
<tr><td>7 January</td><td>05:41</td><td>3.5 m</td></tr></table>"""


def test_the_row_asked_for_comes_before_the_one_that_stands_beside_the_heading(
    tmp_path: Path, byte_tokenizer: Any
) -> None:
    """Where the row's own word is a usual one: other documents have many sixes."""
    (tmp_path / "tides.html").write_text(TIDES)
    for number in range(6):
        (tmp_path / f"stock {number}.csv").write_text("Item,Number\n" + "Oar,6\nRope,6\n" * 20)
    tree = TreeConfig(chunk_tokens=480, height=3)
    shelf = Shelf(IndexStore(tmp_path / "indexes", Silent()), lambda: byte_tokenizer, "bytes", tree, Silent())
    opened = shelf.open([str(tmp_path)]).documents
    indexes = [one.leaves.lexical for one in opened]
    question = "When is high water on 6 January?"
    scores = credited(question, bm25.scores(question, indexes), indexes, [one.rows for one in opened]).values
    assert found_passages(opened, scores, limit=8)[0].quote.startswith("6 January | 04:57")
