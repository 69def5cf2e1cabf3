"""`@NAME`: which arguments name a collection, and where collections lie.

A collection is a folder in the home folder: `collection.json` says what the user added, `catalogue.sqlite` what was
found there and can be made again from the files.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sharedllm_cli.durable import make_private_folder, replace_bytes, writing
from sharedllm_cli.errors import StoredIndexError, UsageError
from sharedllm_cli.home import HOME_ELSEWHERE

FACTS, CATALOGUE, LOCK = "collection.json", "catalogue.sqlite", "update.lock"
FACTS_VERSION = 1
_NAME = re.compile(r"[\w][\w.-]{0,63}")


@dataclass(frozen=True)
class Collection:
    """A named set of documents: its folder, and the files, folders and patterns that were added, as absolute paths."""

    name: str
    folder: Path
    roots: tuple[str, ...]

    @property
    def label(self) -> str:
        """What the user types: `@notes`."""
        return f"@{self.name}"

    @property
    def catalogue(self) -> Path:
        """The file of its catalogue."""
        return self.folder / CATALOGUE


def collections_folder(home: Path) -> Path:
    """Where collections lie below a home folder."""
    return home / "collections"


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names of the collections among some arguments, and the other arguments. A file called `@…` stays a file."""
    named = [argument for argument in arguments if argument.startswith("@") and not os.path.lexists(argument)]
    return [argument[1:] for argument in dict.fromkeys(named)], [one for one in arguments if one not in named]


def checked_name(name: str) -> str:
    """A collection's name without its `@`; UsageError for one that can't be a folder's."""
    bare = name.removeprefix("@")
    if not bare:
        raise UsageError("the name of a collection is missing", hint="for example: @notes")
    if not _NAME.fullmatch(bare) or bare.endswith("."):
        raise UsageError(
            f"{bare!r} can't be the name of a collection",
            hint="a name begins with a letter, a digit or _; letters, digits, . _ and - follow, at most 64 in all",
        )
    return bare


def existing(home: Path) -> list[Collection]:
    """All collections, by name. One whose `collection.json` can't be read is left out."""
    root = collections_folder(home)
    names = sorted(path.name for path in root.iterdir() if (path / FACTS).is_file()) if root.is_dir() else []
    found = []
    for name in names:
        try:
            found.append(_read(root / name))
        except StoredIndexError:
            continue
    return found


def find(home: Path, name: str) -> Collection:
    """The collection of a name. UsageError with the nearest name where there is none."""
    names = [one.name for one in existing(home)]
    bare = name.removeprefix("@")
    if not bare:
        raise UsageError("the name of a collection is missing", hint=_there_are(names) or "for example: @notes")
    first, slash, _ = bare.replace("\\", "/").partition("/")
    if slash:
        first = find(home, first).name  # says what is wrong with the name alone
        raise UsageError(
            f"{f'@{bare}'!r} names no collection and no file",
            hint=f"one document of @{first} is asked by its path: `sharedllm collections show {first}` lists them",
        )
    bare = checked_name(bare)
    folder = collections_folder(home) / bare
    if (folder / FACTS).is_file():
        return _read(folder)
    by_fold = {one.casefold(): one for one in names}
    near = difflib.get_close_matches(bare.casefold(), by_fold, n=1, cutoff=0.5)
    if near:
        hint = f"did you mean @{by_fold[near[0]]}?"
    elif names:
        hint = _there_are(names)
    else:
        hint = f"make one with: sharedllm collections add {bare} PATH..."
    raise UsageError(f"there is no collection @{bare}", hint=hint)


def _there_are(names: Sequence[str]) -> str:
    """The hint that names collections; empty where there are none."""
    if not names:
        return ""
    return "there are: " + ", ".join(f"@{one}" for one in names[:12]) + (", …" if len(names) > 12 else "")


def made(home: Path, name: str, roots: Sequence[str]) -> Collection:
    """The collection of a name with some roots added, on disk; it is made where there is none."""
    bare = checked_name(name)
    folder = collections_folder(home) / bare
    before = _read(folder).roots if (folder / FACTS).is_file() else ()
    collection = Collection(bare, folder, tuple(dict.fromkeys([*before, *map(_absolute, roots)])))
    with writing(folder, HOME_ELSEWHERE):
        make_private_folder(folder)
        facts = {"format": "sharedllm-collection", "version": FACTS_VERSION, "roots": list(collection.roots)}
        replace_bytes(folder / FACTS, json.dumps(facts, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass"))
    return collection


def removed(collection: Collection) -> None:
    """Delete a collection: its catalogue and what was added. Documents and their indexes stay."""
    with writing(collection.folder, HOME_ELSEWHERE):
        (collection.folder / FACTS).unlink(missing_ok=True)  # first: a folder without it is no collection
        shutil.rmtree(collection.folder)


def _absolute(root: str) -> str:
    path = Path(root).expanduser() if root.startswith("~") else Path(root)
    return os.path.normpath(path.absolute())


def _read(folder: Path) -> Collection:
    path = folder / FACTS
    try:
        facts = json.loads(path.read_bytes().decode("utf-8", "surrogatepass"))
        version, roots = facts["version"], tuple(facts["roots"])
        if not all(isinstance(root, str) for root in roots) or facts["format"] != "sharedllm-collection":
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError):
        raise StoredIndexError(
            f"the collection @{folder.name} is damaged (file {path})",
            hint=f"delete the folder {folder}, and make it anew with: sharedllm collections add {folder.name} PATH...",
        ) from None
    if version != FACTS_VERSION:
        raise StoredIndexError(
            f"the collection @{folder.name} has format version {version}; this release reads {FACTS_VERSION}",
            hint="update sharedllm, or make the collection anew with `collections rm` and `collections add`",
        )
    return Collection(folder.name, folder, roots)
