"""What the process that reads documents and its parent say to each other: a line of JSON, and bytes behind it.

No pickle: whatever a hostile document makes of the process, its parent gets numbers and texts, and checks them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, BinaryIO

from sharedllm_cli.documents.pages import AttachedFile, Attachment, Document, OutlineEntry, Page
from sharedllm_cli.durable import sha256_of_bytes

LONGEST_LINE = 1 << 20
"""Bytes of a frame's line; everything of any length is in the bytes behind it."""


@dataclass(frozen=True)
class Frame:
    """One message: `head`, small values by name, and the bytes behind it."""

    head: Mapping[str, Any]
    blobs: Sequence[bytes] = ()
    size: int = 0
    """Bytes of one that was read."""

    def write(self, stream: BinaryIO) -> None:
        """Write it whole."""
        line = json.dumps({**self.head, "blobs": [len(blob) for blob in self.blobs]})
        stream.write(line.encode("ascii") + b"\n")
        for blob in self.blobs:
            stream.write(blob)
        stream.flush()


def read_frame(stream: BinaryIO, most: int) -> Frame | None:
    """The next frame, None at the end. Raises ValueError for what is none, OverflowError for more than `most` bytes."""
    line = stream.readline(LONGEST_LINE)
    if not line:
        return None
    head = json.loads(line)
    sizes = head.pop("blobs")
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError("sizes")
    if sum(sizes) > most:
        raise OverflowError(sum(sizes))
    blobs = [stream.read(size) for size in sizes]
    if any(len(blob) != size for blob, size in zip(blobs, sizes, strict=True)):
        return None
    return Frame(head, blobs, len(line) + sum(sizes))


def packed(document: Document, attachments: Sequence[AttachedFile]) -> list[bytes]:
    """A document as bytes: the facts, the text, the raw pages, and each file that it carries."""
    raws = [_encoded(page.raw) for page in document.pages]
    facts = {
        "kind": document.kind,
        "paged": document.paged,
        "outline": [[entry.title, entry.level, entry.page] for entry in document.outline],
        "warnings": document.warnings,
        "metadata": document.metadata,
        "furniture": document.furniture,
        "pictures": document.pictures,
        "recognised_by": document.recognised_by,
        "attachments": [file.name for file in attachments],
        "pages": [
            [page.label, page.start, page.end, page.part, page.part_title, page.recognised, len(raw)]
            for page, raw in zip(document.pages, raws, strict=True)
        ],
    }
    return [json.dumps(facts).encode("ascii"), _encoded(document.text), b"".join(raws), *packed_files(attachments)]


def packed_files(attachments: Sequence[AttachedFile]) -> list[bytes]:
    """The bytes of attached files."""
    return [file.data for file in attachments]


def unpacked(
    blobs: Sequence[bytes], name: str, path: str | None, content_hash: str
) -> tuple[Document, list[AttachedFile]]:
    """The document that was packed, and the files that it carries; ValueError for what can't be one."""
    facts = json.loads(blobs[0])
    text, joined = _decoded(blobs[1]), blobs[2]
    ends = list(accumulate((page[-1] for page in facts["pages"]), initial=0))
    if ends[-1] != len(joined) or any(end < start for start, end in pairwise(ends)):
        raise ValueError("raw pages")
    pages = tuple(
        Page(
            *(number, _text_or_none(label), start, end, _decoded(joined[first:last])),
            *(_part(part), _text_or_none(title), bool(recognised)),
        )
        for number, ((label, start, end, part, title, recognised, _), (first, last)) in enumerate(
            zip(facts["pages"], pairwise(ends), strict=True), 1
        )
    )
    stops = [0, *(page.end for page in pages)]
    if stops[-1] != len(text) or any(
        page.start != stop or page.end < stop for page, stop in zip(pages, stops, strict=False)
    ):
        raise ValueError("spans of pages")
    files = unpacked_files(facts["attachments"], blobs[3:])
    document = Document(
        name=name,
        path=path,
        kind=str(facts["kind"]),
        content_hash=content_hash,
        text=text,
        pages=pages,
        paged=bool(facts["paged"]),
        outline=tuple(OutlineEntry(str(title), int(level), int(page)) for title, level, page in facts["outline"]),
        warnings=tuple(map(str, facts["warnings"])),
        metadata=tuple((str(key), str(value)) for key, value in facts["metadata"]),
        furniture=tuple((int(start), int(end)) for start, end in facts["furniture"]),
        pictures=tuple(map(int, facts["pictures"])),
        recognised_by=_text_or_none(facts["recognised_by"]),
        attachments=tuple(Attachment(file.name, file.content_hash) for file in files),
    )
    return document, files


def unpacked_files(names: Sequence[str], blobs: Sequence[bytes]) -> list[AttachedFile]:
    """Attached files with the hashes of their bytes; ValueError where there are more names or fewer."""
    return [AttachedFile(str(name), sha256_of_bytes(blob), blob) for name, blob in zip(names, blobs, strict=True)]


def _text_or_none(value: Any) -> str | None:
    return None if value is None else str(value)


def _part(value: Any) -> int | None:
    return None if value is None else int(value)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
