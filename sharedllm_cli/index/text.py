"""The text part: a document's normalised text, its pages, and what is known of it, as plain files.

`text.txt` is UTF-8; `pages.jsonl` has one page a line; `document.json` the rest. With it a question needs no PDF.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sharedllm_cli.documents.pages import READING_VERSION, Document, OutlineEntry, Page
from sharedllm_cli.index.manifest import TextKey

TEXT, PAGES, FACTS = "text.txt", "pages.jsonl", "document.json"
# A PDF can yield half of a surrogate pair; what was read is kept as it was read.
_ENCODING = ("utf-8", "surrogatepass")


def text_key(content_hash: str) -> TextKey:
    """The key of the text that this release reads from a document's bytes."""
    return TextKey(content_hash, READING_VERSION)


def text_files(document: Document) -> dict[str, bytes]:
    """The files of the text part."""
    facts = {
        "name": document.name,
        "path": document.path,
        "kind": document.kind,
        "content_hash": document.content_hash,
        "paged": document.paged,
        "outline": [asdict(entry) for entry in document.outline],
        "warnings": list(document.warnings),
        "reading_version": READING_VERSION,
    }
    lines = (json.dumps(asdict(page), ensure_ascii=False) + "\n" for page in document.pages)
    return {
        TEXT: document.text.encode(*_ENCODING),
        PAGES: "".join(lines).encode(*_ENCODING),
        FACTS: json.dumps(facts, ensure_ascii=False, indent=1).encode(*_ENCODING),
    }


def text_facts(document: Document) -> dict[str, Any]:
    """What the manifest tells of the text."""
    return {
        "name": document.name,
        "path": document.path,
        "kind": document.kind,
        "pages": document.page_count if document.parts else len(document.pages),
        "paged": document.paged,
        "characters": len(document.text),
    }


def document_from(files: Mapping[str, bytes]) -> Document:
    """The document that `text_files` wrote, equal in every field."""
    facts = json.loads(files[FACTS].decode(*_ENCODING))
    pages = (json.loads(line) for line in files[PAGES].decode(*_ENCODING).split("\n") if line)
    return Document(
        name=facts["name"],
        path=facts["path"],
        kind=facts["kind"],
        content_hash=facts["content_hash"],
        text=files[TEXT].decode(*_ENCODING),
        pages=tuple(Page(**page) for page in pages),
        paged=facts["paged"],
        outline=tuple(OutlineEntry(**entry) for entry in facts["outline"]),
        warnings=tuple(facts["warnings"]),
    )
