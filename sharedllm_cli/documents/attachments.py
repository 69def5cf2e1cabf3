"""The files that a PDF carries: in its list of attachments (a portfolio's documents are there) and pinned to its pages.

Read by pypdf, whose bound on what a stream may unpack to holds for each; `pdf.SecondOpinion` catches what it raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from sharedllm_cli.answer import NotRead
from sharedllm_cli.documents.pages import AttachedFile
from sharedllm_cli.documents.sources import SUFFIXES, kind_of, told
from sharedllm_cli.durable import sha256_of_bytes

if TYPE_CHECKING:
    import pypdf

MOST_FILES = 100
"""So many attached files are read at most."""
MOST_BYTES = 256 << 20
"""Bytes of all attached files that are read at most."""
LONGEST_NAME = 120
_MOST_NODES = 10_000


def attached(reader: pypdf.PdfReader, outer: str) -> tuple[list[AttachedFile], list[str]]:
    """The attached files of kinds that can be read, and a sentence on those that are not read, if there are some."""
    files: list[AttachedFile] = []
    beside: list[NotRead] = []
    seen: set[str] = set()
    size = 0
    for specification in _specifications(reader):
        name = _name(specification)
        data = _data(specification) if _is_wanted(name) and len(files) < MOST_FILES and size < MOST_BYTES else None
        if data is None or size + len(data) > MOST_BYTES:
            if name not in seen:
                beside.append(NotRead(name, f"{outer} › {name}", kind_of(PurePosixPath(name))))  # type: ignore[arg-type]
        elif (content_hash := sha256_of_bytes(data)) not in seen:
            files.append(AttachedFile(name, content_hash, data))
            size += len(data)
            seen.add(content_hash)
        seen.add(name)
    return told_apart(files), [told(outer, beside).replace("not read in", "attachments not read in")] if beside else []


def _is_wanted(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def told_apart(files: Sequence[AttachedFile]) -> list[AttachedFile]:
    """The files, those of one name numbered: `plan.pdf`, `plan.pdf (2)`."""
    counts: dict[str, int] = {}
    named = []
    for file in files:
        counts[file.name] = counts.get(file.name, 0) + 1
        number = counts[file.name]
        named.append(file if number == 1 else AttachedFile(f"{file.name} ({number})", file.content_hash, file.data))
    return named


def _name(specification: Any) -> str:
    """The file's own name, without folders and control characters."""
    given = next((str(specification[key]) for key in ("/UF", "/F", "/DOS", "/Unix") if key in specification), "")
    name = re.split(r"[\\/]", given.strip())[-1]
    name = "".join(character for character in name if character.isprintable()).strip(" .")
    return name[-LONGEST_NAME:] or "unnamed"


def _data(specification: Any) -> bytes | None:
    try:
        files = specification["/EF"]
        stream = next(files[key] for key in ("/UF", "/F", "/DOS", "/Unix") if key in files).get_object()
        return bytes(stream.get_data())
    except Exception:  # damaged, or it unpacks to more than the library's bound
        return None


def _specifications(reader: pypdf.PdfReader) -> Iterator[Any]:
    """The specification of each attached file, in the order of their list and then of the pages."""
    names = reader.root_object.get("/Names")
    tree = names.get_object().get("/EmbeddedFiles") if names is not None else None
    waiting = [tree] if tree is not None else []
    for _ in range(_MOST_NODES):
        if not waiting:
            break
        node = waiting.pop().get_object()
        pairs = node.get("/Names", [])
        pairs = pairs.get_object() if hasattr(pairs, "get_object") else pairs
        yield from (
            one for one in (item.get_object() for item in pairs[1 : 2 * _MOST_NODES : 2]) if hasattr(one, "get")
        )
        waiting += reversed(list(node.get("/Kids", [])))
    for page in reader.pages:
        for reference in page.get("/Annots", []) or []:
            annotation = reference.get_object()
            if hasattr(annotation, "get") and annotation.get("/Subtype") == "/FileAttachment" and "/FS" in annotation:
                specification = annotation["/FS"]
                if hasattr(specification, "get"):
                    yield specification
