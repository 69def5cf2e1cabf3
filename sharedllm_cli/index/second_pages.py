"""The second extraction of pages that quotes were held against, kept so that the next question need not make it again.

`second.json` lies in the document's folder; it only ever saves work, and holds the pages asked of last.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sharedllm_cli import durable
from sharedllm_cli.home import INDEX_ELSEWHERE
from sharedllm_cli.index.seals import sealed, unsealed
from sharedllm_cli.index.stamps import DamagedFileError

SECOND = "second.json"
MOST_PAGES = 64
"""Pages that are kept; the ones asked of longest ago go."""
MOST_CHARACTERS = 500_000
"""Characters of these pages together: the file is read whole whenever the index is opened."""


def read_second(folder: Path, made_by: str | None = None) -> dict[int, str | None]:
    """The kept pages by number, the last asked of last (None: it has no second extraction); of these libraries alone.

    Raises DamagedFileError for a file that is not what was written.
    """
    try:
        data = (folder / SECOND).read_bytes()
    except FileNotFoundError:
        return {}
    value = unsealed(data)
    try:
        assert value is not None
        pages = {int(number): text for number, text in value["pages"]}
        return pages if made_by in (None, value["made_by"]) else {}
    except (AssertionError, KeyError, TypeError, ValueError):
        raise DamagedFileError(folder / SECOND, "differs from what was written") from None


def write_second(folder: Path, pages: Mapping[int, str | None], made_by: str) -> None:
    """Keep pages beside those that are kept already."""
    before = {number: text for number, text in read_second(folder, made_by).items() if number not in pages}
    kept: list[tuple[int, str | None]] = []
    room = MOST_CHARACTERS
    for number, text in reversed([*before.items(), *pages.items()]):
        room -= len(text or "")
        if room < 0 or len(kept) == MOST_PAGES:
            break
        kept.insert(0, (number, text))
    with durable.writing(folder, INDEX_ELSEWHERE):
        durable.replace_bytes(folder / SECOND, sealed({"made_by": made_by, "pages": kept}))
