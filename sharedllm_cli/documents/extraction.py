"""What a format's reader found in a file, before normalisation: the common form that readers.py turns into a Document.

Knows no file format and no library.
"""

from __future__ import annotations

from dataclasses import dataclass

from sharedllm_cli.documents.pages import OutlineEntry


@dataclass(frozen=True)
class ExtractedPage:
    """One page as extracted: its text, its label where the file gives one, and whether it shows images."""

    raw: str
    label: str | None = None
    images: bool = False


@dataclass(frozen=True)
class Extraction:
    """A file as extracted.

    `reflow` and `layout` are for `normalise`: whether line ends are those of a typesetter (to be joined) or of the
    author, and whether indentation and column gaps mean something.
    """

    pages: tuple[ExtractedPage, ...]
    paged: bool
    reflow: bool
    layout: bool
    outline: tuple[OutlineEntry, ...] = ()
    warnings: tuple[str, ...] = ()
