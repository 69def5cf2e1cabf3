"""Which files the user means: files, folders, globs, standard input; and what a folder holds that is not read.

Opens nothing: a file's content is for readers.py.
"""

from __future__ import annotations

import difflib
import glob
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sharedllm_cli.answer import NotRead
from sharedllm_cli.errors import DocumentError

SUFFIXES: dict[str, str] = {
    ".pdf": "pdf",
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".mkd": "markdown",
    ".rst": "rst",
    ".rest": "rst",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".epub": "epub",
    **dict.fromkeys((".docx", ".docm", ".dotx", ".dotm"), "docx"),
    **dict.fromkeys((".pptx", ".pptm", ".ppsx", ".ppsm", ".potx"), "pptx"),
    **dict.fromkeys((".xlsx", ".xlsm", ".xltx"), "xlsx"),
    **dict.fromkeys((".odt", ".ott"), "odt"),
    **dict.fromkeys((".ods", ".ots"), "ods"),
    **dict.fromkeys((".odp", ".otp", ".odg"), "odp"),
    **dict.fromkeys((".csv", ".tsv", ".tab"), "csv"),
    **dict.fromkeys((".eml", ".emlx", ".mbox", ".mbx"), "mail"),
    **dict.fromkeys((".mht", ".mhtml"), "saved page"),
    ".ipynb": "notebook",
}
"""What a folder is searched for, and the kind that each suffix promises (content tells first, see readers.py)."""

FORMATS = "PDF, docx, pptx, xlsx, odt, ods, odp, epub, html, md, rst, txt, csv, eml, mbox, ipynb"
"""The formats that are read, as help and errors name them."""

STANDARD_INPUT = "standard input"
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


Ignored = Callable[[Path, bool], bool]
"""Whether a path within a folder is left out; the second argument says whether it is a folder."""


@dataclass(frozen=True)
class SourceFile:
    """One document to read: the name shown to the user, and where it lies (None: standard input)."""

    name: str
    path: Path | None


def expand(
    arguments: Sequence[str],
    failures: list[tuple[str, DocumentError]] | None = None,
    passed_over: dict[str, list[NotRead]] | None = None,
    ignored: Ignored | None = None,
) -> list[SourceFile]:
    """The documents that the arguments name, in their order, each once (by resolved path).

    A folder gives its regular files of known kinds, at any depth, in natural order (`page 2` before `page 10`), hidden
    ones left out; a pattern that the shell left alone is matched here, `**` included; `-` is standard input. Names are
    the shortest ends of paths that tell the files apart.

    Raises DocumentError for an argument that names nothing; with `failures` given, appends argument and
    error there and goes on. With `passed_over` given, what a folder or a pattern holds besides and is not read goes
    there, by argument; what is a document of another argument does not. What `ignored` says of a path within a folder
    (and whether that is a folder itself) is left out without a word.
    """
    found: dict[object, SourceFile] = {}
    folders: dict[str, str] = {}
    others: dict[str, list[NotRead]] = {}
    for argument in arguments:
        try:
            for path in _paths(argument, others.setdefault(argument, []), ignored):
                key = _resolved(path, folders) if path else None
                found.setdefault(key, SourceFile(path.name if path else STANDARD_INPUT, path))
        except DocumentError as failure:
            if failures is None:
                raise
            failures.append((argument, failure))
    if passed_over is not None:
        known: set[object] = set(found)
        for argument, files in others.items():
            left = {_resolved(Path(file.path), folders): file for file in files}
            if files := [file for key, file in left.items() if key not in known]:
                passed_over[argument] = files
                known |= left.keys()
    return _named(list(found.values()))


def _resolved(path: Path, folders: dict[str, str]) -> str:
    """The path that a file has without links; `folders` remembers what those of thousands of files resolve to."""
    folder, name = os.path.split(path)
    if not name or name == ".." or os.path.islink(path):
        return os.path.realpath(path)
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    return os.path.join(folders[folder], name)


def not_read(arguments: Sequence[str]) -> list[NotRead]:
    """What the folders and patterns among the arguments hold besides the documents that are read, whole."""
    passed_over: dict[str, list[NotRead]] = {}
    expand(arguments, [], passed_over)
    return [file for files in passed_over.values() for file in files]


def _paths(argument: str, others: list[NotRead], ignored: Ignored | None = None) -> Iterator[Path | None]:
    if argument == "-":
        yield None
        return
    path = _path(argument)
    kind = _kind(path, argument)
    if kind == "folder":
        yield from _folder(path, others, ignored)
    elif kind == "file":
        yield path
    elif glob.has_magic(argument):
        yield from _matches(argument, others)
    else:
        raise DocumentError(f"{argument} does not exist", hint=_nearest(path))


def _path(argument: str) -> Path:
    path = Path(argument)
    if argument.startswith("~"):
        try:
            return path.expanduser()
        except RuntimeError:  # no such user: the name is taken as it stands
            return path
    return path


def _kind(path: Path, argument: str) -> str:
    """`file` (a pipe too), `folder` or `missing`."""
    if not argument or "\0" in argument:
        raise DocumentError("the name of a document is empty or invalid", hint="name a file, a folder or -")
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError as failure:
        raise DocumentError(f"{argument} can't be opened ({_reason(failure)})") from failure
    if stat.S_ISDIR(mode):
        return "folder"
    if stat.S_ISREG(mode) or stat.S_ISFIFO(mode):
        return "file"
    raise DocumentError(f"{argument} is a device or socket, not a document")


def _reason(failure: OSError) -> str:
    return (failure.strerror or type(failure).__name__).lower()


def _folder(folder: Path, others: list[NotRead], ignored: Ignored | None = None) -> list[Path]:
    def unreadable(failure: OSError) -> None:
        raise DocumentError(f"the folder {failure.filename} can't be opened ({_reason(failure)})") from failure

    files: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=unreadable):
        inside = Path(place)
        folders[:] = [one for one in folders if one[0] != "." and not (ignored and ignored(inside / one, True))]
        found = (inside / name for name in names if not name.startswith("."))
        files += [path for path in found if not (ignored and ignored(path, False))]
    files = sorted((path for path in files if not _is_special(path)), key=_natural)
    files = [path for path in files if worth_telling(path)]
    read = [path for path in files if path.suffix.lower() in SUFFIXES]
    beside = [_passed_over(path, folder) for path in files if path.suffix.lower() not in SUFFIXES]
    if not read:
        looked_for = f"looked for files ending in {' '.join(sorted(SUFFIXES))}"
        hint = f"{told(str(folder), beside)}; {looked_for}" if beside else looked_for
        raise DocumentError(f"the folder {folder} contains no document", hint=hint)
    others += beside
    return read


def _passed_over(path: Path, folder: Path) -> NotRead:
    name = path.relative_to(folder) if path.is_relative_to(folder) else path
    return NotRead(name.as_posix(), str(path), kind_of(path))


def _is_special(path: Path) -> bool:
    """Whether a name in a folder is a pipe, a socket or a device; what can't be looked at is told when it is read."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _matches(pattern: str, others: list[NotRead]) -> list[Path]:
    matched = sorted((Path(match) for match in glob.glob(str(_path(pattern)), recursive=True)), key=_natural)
    # `notes/*` means the documents among what it matches; `*.log` means exactly those files.
    suffix = Path(pattern).suffix
    named = bool(suffix) and not glob.has_magic(suffix)
    files: dict[Path, None] = {}
    for path in matched:
        if path.is_dir() and "**" not in pattern:
            files |= dict.fromkeys(_quietly(path, others))
        elif path.is_file() and (named or (path.suffix.lower() in SUFFIXES and worth_telling(path))):
            files[path] = None
        elif path.is_file() and worth_telling(path):
            others.append(_passed_over(path, path.parent))
    if not files:
        raise DocumentError(f"no document matches {pattern}", hint=f"documents end in {' '.join(sorted(SUFFIXES))}")
    return list(files)


def _quietly(folder: Path, others: list[NotRead]) -> list[Path]:
    """A folder's files; none for a folder without any, since a pattern did not ask for it by name."""
    try:
        return _folder(folder, others)
    except DocumentError:
        return []


def _natural(path: Path) -> list[list[tuple[int, int, str]]]:
    """Sorts numbers within names by value, and a folder's own files with its subfolders by name."""
    return [
        [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece.casefold()) for piece in re.split(r"(\d+)", part)]
        for part in path.parts
    ]


def _nearest(path: Path) -> str | None:
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder}"
    try:
        names = [entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError:
        return None
    by_fold = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(path.name.casefold(), by_fold, n=1, cutoff=0.6)
    return f"did you mean {folder / by_fold[near[0]]}?" if near else None


def _named(files: list[SourceFile]) -> list[SourceFile]:
    """Names made longer by a folder at a time, from the right, until they tell the files apart."""
    depth = dict.fromkeys(range(len(files)), 1)
    parts = [file.path.absolute().parts if file.path else (file.name,) for file in files]
    while True:
        names = ["/".join(parts[place][-depth[place] :]) for place in range(len(files))]
        count = Counter(names)
        growing = [place for place in depth if count[names[place]] > 1 and depth[place] < len(parts[place])]
        if not growing:
            return [replace(file, name=name) for file, name in zip(files, names, strict=True)]
        for place in growing:
            depth[place] += 1


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
