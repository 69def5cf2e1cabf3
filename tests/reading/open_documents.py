"""Opened documents for tests, made in memory: pages of text, a byte tokenizer, small trees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tiny_models import make_byte_tokenizer

from sharedllm_cli.config import TreeConfig
from sharedllm_cli.documents.pages import Document, Page
from sharedllm_cli.index.leaves import build_leaves
from sharedllm_cli.index.manifest import LeavesKey, text_hash
from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.reading.scoring import Scored
from sharedllm_cli.retrieval import bm25

TREE = TreeConfig(256, 2, (8, 4))
"""Leaves of 64 bytes."""


def opened(pages: Sequence[str], name: str = "book.pdf", *, paged: bool = True) -> OpenDocument:
    """A document of these pages, their labels in roman numbers as a preface has them."""
    made, position = [], 0
    for number, text in enumerate(pages, 1):
        made.append(Page(number, "i" * number if paged else None, position, position + len(text), text))
        position += len(text)
    document = Document(name, None, "pdf" if paged else "text", f"hash of {name}", "".join(pages), tuple(made), paged)
    leaves = build_leaves(document, make_byte_tokenizer(), TREE)
    return OpenDocument(document, leaves, LeavesKey(text_hash(document), "bytes", TREE), False, Path())


def scored(question: str, *documents: OpenDocument) -> Scored:
    """Scored by BM25 alone."""
    matches = bm25.scores(question, [document.leaves.lexical for document in documents])
    return Scored(list(matches.values), lambda nodes: [0.0] * len(nodes), matches)  # type: ignore[arg-type, return-value]
