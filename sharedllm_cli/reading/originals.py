"""The bytes of the files that documents were read from, as long as they are those that were read.

Knows opened documents and their files; no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sharedllm_cli.documents.readers import Probe
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.durable import sha256_of_bytes
from sharedllm_cli.errors import DocumentError
from sharedllm_cli.reading.library import OpenDocument


@dataclass(frozen=True)
class Original:
    """A document's bytes, or why they can't be had, as a sentence."""

    data: bytes | None
    reason: str = ""


def original(opened: OpenDocument, documents: Sequence[OpenDocument] = (), password: str | None = None) -> Original:
    """The document's bytes. `documents` are all that are open: an attachment's bytes lie in the one that carries it."""
    if opened.data is not None:
        return Original(opened.data)
    if opened.attached:
        return _inside(opened, documents, password)
    if opened.path is None:
        return Original(None, f"{opened.name} was not kept")
    path = Path(opened.path)
    try:
        if not path.is_file():
            return Original(None, f"{opened.name} is no longer there")
        data = path.read_bytes()
    except OSError as failure:
        return Original(None, f"{opened.name} can't be read ({(failure.strerror or 'unknown').lower()})")
    if sha256_of_bytes(data) != opened.content_hash:
        return Original(None, f"{opened.name} has changed since it was read")
    return Original(data)


def _inside(opened: OpenDocument, documents: Sequence[OpenDocument], password: str | None) -> Original:
    """The bytes of an attachment, taken out of the file that carries it."""
    for outer in documents:
        if outer.attached or not any(file.content_hash == opened.content_hash for file in outer.document.attachments):
            continue
        carrier = original(outer, (), password)
        if carrier.data is None:
            return Original(None, carrier.reason)
        source = SourceFile(outer.name, None)
        try:
            data = Probe(source, password=password, data=carrier.data).attached().get(opened.content_hash)
        except DocumentError as failure:
            return Original(None, failure.message)
        if data is not None:
            return Original(data)
    return Original(None, f"{opened.name} can't be taken out of the file that carries it")
