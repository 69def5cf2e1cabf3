"""What a folder holds and is not read: what kind of file it is, in a word, and how that is told in one line.

Knows names only. What could hold text of the user's comes first; litter of an operating system or an editor is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sharedllm_cli.answer import NotRead

NAMED = 6
"""So many files are told by name; of more, the first ones, and how many of each kind there are besides."""

_KINDS: dict[str, str] = {
    "Word": "doc docx docm dot dotx",
    "Excel": "xls xlsx xlsm xlsb",
    "PowerPoint": "ppt pptx pptm pps ppsx",
    "OpenDocument": "odt ods odp odg fodt fods",
    "Pages": "pages",
    "Numbers": "numbers",
    "Keynote": "key",
    "rich text": "rtf rtfd",
    "mail": "eml emlx msg mbox mbx",
    "saved page": "mht mhtml webarchive maff",
    "table": "csv tsv tab",
    "book": "mobi azw azw3 fb2 djvu djv kfx lit",
    "text": "log tex org adoc asciidoc textile wiki srt vtt bib ltx nfo",
    "page description": "ps eps xps oxps",
    "calendar or contacts": "ics vcf",
    "note": "one enex",
    "database": "sqlite sqlite3 db mdb accdb dbf",
    "data": "json jsonl ndjson xml yaml yml toml ini cfg conf parquet",
    "image": "png jpg jpeg gif tif tiff bmp webp heic heif svg ico psd ai raw cr2 nef avif",
    "sound": "mp3 wav flac ogg oga m4a aac opus wma mid midi",
    "film": "mp4 mov avi mkv webm m4v mpg mpeg wmv",
    "archive": "zip gz tgz bz2 xz zst 7z rar tar cpgz dmg iso",
    "code": "py pyc pyi ipynb js mjs ts tsx jsx css scss c h cc cpp hpp cs java class jar go rs rb php pl sh bash zsh"
    " ps1 bat cmd lua r jl swift kt sql vue so o a dll exe bin wasm map lock",
}
_KIND_OF = {f".{suffix}": kind for kind, suffixes in _KINDS.items() for suffix in suffixes.split()}
_ORDER = {kind: place for place, kind in enumerate([*_KINDS, "other"])}
_LAST = frozenset({"image", "sound", "film", "archive", "code"})
"""Kinds that rarely hold a text of the user's: counted where there is something else to name."""
_LITTER = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"})
_LITTER_SUFFIXES = frozenset({".tmp", ".temp", ".part", ".crdownload", ".swp"})
_PLURALS = {
    **dict.fromkeys(("Word", "Excel", "PowerPoint", "OpenDocument", "Pages", "Numbers", "Keynote"), "{} files"),
    **dict.fromkeys(("rich text", "text", "data", "code", "sound", "calendar or contacts"), "{} files"),
}


def worth_telling(path: Path) -> bool:
    """Whether a file is one of the user's: no lock of an open document, no picture cache of the system."""
    name = path.name.lower()
    return not (
        name.startswith(("~$", ".~"))
        or name.endswith("~")
        or name in _LITTER
        or path.suffix.lower() in _LITTER_SUFFIXES
    )


def kind_of(path: Path) -> str:
    """What a file is by its name: a kind's word, `other` for a suffix that is not known and for none."""
    return _KIND_OF.get(path.suffix.lower(), "other")


def told(where: str, files: Sequence[NotRead]) -> str:
    """One line that names files, those first that may hold text: `not read in club: budget.xlsx (Excel), …`."""
    ordered = sorted(files, key=lambda file: _ORDER[file.kind] if file.kind in _LAST else 0)
    named = ordered if len(ordered) <= NAMED else ordered[: NAMED - 1]
    shown = ", ".join(f"{file.name} ({_word(file)})" for file in named)
    if rest := ordered[len(named) :]:
        kinds = Counter(file.kind for file in rest)
        counts = ", ".join(_counted(kind, kinds[kind]) for kind in sorted(kinds, key=_ORDER.__getitem__))
        shown += f" and {len(rest):,} more: {counts}"
    place = "this folder" if where in (".", "./") else where.rstrip("/") or where
    return f"not read in {place}: {shown}"


def _word(file: NotRead) -> str:
    return file.kind if file.kind != "other" else Path(file.name).suffix.lower().lstrip(".") or "no suffix"


def _counted(kind: str, count: int) -> str:
    if kind == "other":
        return f"{count:,} other{'s' if count > 1 else ''}"
    if kind in _PLURALS:
        words = _PLURALS[kind].format(kind)
        return f"{count:,} {words if count > 1 else words.removesuffix('s')}"
    return f"{count:,} {kind}{'s' if count > 1 else ''}"
