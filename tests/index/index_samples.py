"""A document, its leaves, a tiny lower model and their keys, for the tests of the index."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sharedllm_cli.config import StoredDtype, TreeConfig
from sharedllm_cli.context.tree import Node
from sharedllm_cli.documents.pages import Document, OutlineEntry, Page
from sharedllm_cli.index.leaves import Leaves, build_leaves
from sharedllm_cli.index.manifest import LeavesKey, TreesKey, text_hash
from sharedllm_cli.index.store import IndexStore

TREE = TreeConfig(chunk_tokens=64, height=3, ratios=(16, 8, 4))
WORDS = "the lighthouse keeper counted seven gulls above Åland, then wrote the number down in her log. "


def sample_document(name: str = "Gulls & Log.txt", characters: int = 700, path: str | None = None) -> Document:
    """Three pages of text, the second one empty; the last chunk is short."""
    text = (WORDS * (characters // len(WORDS) + 1))[:characters]
    half = characters // 2
    pages = (
        Page(1, "i", 0, half, "raw one"),
        Page(2, None, half, half, "raw\r\n\u2028"),
        Page(3, "1", half, characters, "raw"),
    )
    content = hashlib.sha256(text.encode() + name.encode()).hexdigest()
    outline = (OutlineEntry("Gulls", 1, 1),)
    return Document(name, path, "text", content, text, pages, True, outline, ("page 2 has no text",))


def load_lower(folder: Path, lower_layers: int = 3, first_layer: int = 0) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    from sharedllm_cli.model.lower import LowerModel

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return LowerModel(model.eval(), lower_layers, first_layer)


def leaves_key(document: Document, tree: TreeConfig = TREE) -> LeavesKey:
    return LeavesKey(text_hash(document), "byte-tokenizer", tree)


def trees_key(document: Document, stored_dtype: StoredDtype = "int8", **changes: Any) -> TreesKey:
    values: dict[str, Any] = {
        "leaves": leaves_key(document),
        "base_name": "tiny",
        "weights_hash": "0" * 64,
        "lower_layers": 3,
        "stored_dtype": stored_dtype,
        "quantize": "none",
    }
    return TreesKey(**(values | changes))


def all_nodes(leaves: Leaves) -> list[Node]:
    return [Node(chunk, *place) for chunk, tree in enumerate(leaves.trees) for place in tree.stored_nodes()]


def text_and_leaves(store: IndexStore, document: Document, tokenizer: Any, tree: TreeConfig = TREE) -> Leaves:
    """Store a document's text and leaves."""
    leaves = build_leaves(document, tokenizer, tree)
    store.write_text(document)
    store.write_leaves(document.content_hash, leaves_key(document, tree), leaves)
    return leaves


class Progress:
    """A reporter that counts, keeps notes, and calls a function after every advance."""

    def __init__(self, after: Callable[[int], None] | None = None) -> None:
        self.notes: list[str] = []
        self.tasks: list[tuple[str, int, str]] = []
        self.done = 0
        self._after = after

    def task(self, description: str, total: int, unit: str) -> Progress:
        self.tasks.append((description, total, unit))
        self.done = 0
        return self

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def advance(self, amount: int) -> None:
        self.done += amount
        if self._after:
            self._after(self.done)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.notes.append(text)

    def detail(self, title: str, text: str) -> None:
        self.notes.append(text)
