"""What a format's reader found in a file, before normalisation: the common form that readers.py turns into a Document.

Knows no file format and no library.
"""

from __future__ import annotations

from dataclasses import dataclass

from sharedllm_cli.documents.pages import OutlineEntry


@dataclass(frozen=True)
class ExtractedPage:
    """One page as extracted: its text, its label where the file gives one, and whether it shows images.

    `part` and `part_title` as in `pages.Page`. `seam` is the white space between the text before and this page's, where
    the page begins within a paragraph or a word; None where pages are apart.
    """

    raw: str
    label: str | None = None
    images: bool = False
    part: int | None = None
    part_title: str | None = None
    seam: str | None = None


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
