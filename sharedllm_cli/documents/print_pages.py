"""The pages of a print edition that a book without pages marks, cut out of the text of its parts.

A page's number is told only where the marks prove it: text before the first mark of a part has that of the page before
it where the two numbers follow each other, a heading that of the page which begins below it, and any other text none.
"""

from __future__ import annotations

from dataclasses import replace

from sharedllm_cli.documents.extraction import ExtractedPage
from sharedllm_cli.documents.markup import PAGE_MARK, MarkupText

LONGEST_HEADING = 200
"""Characters before the first mark of a part that may be no more than its heading."""
_ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100, "d": 500, "m": 1000}
_SENTENCE_ENDS = tuple(".!?…:;,\"'”’»)")


def cut(found: MarkupText, part: int, title: str | None, before: str | None) -> tuple[list[ExtractedPage], str | None]:
    """A part's text as the print pages in it, and the label of the last one; `before` is that of the part before it."""
    whole = ExtractedPage(found.text, part=part, part_title=title)
    if not found.pages:
        return [whole], None
    first, *rest = found.text.split(PAGE_MARK)
    pages: list[ExtractedPage] = []
    gap = ""
    for label, text in zip((None, *found.pages), (first, *rest), strict=True):
        words = text.strip()
        gap += text[: len(text) - len(text.lstrip())]
        pages.append(replace(whole, raw=words, label=label, seam=_seam(gap) if pages else None))
        if words:
            gap = text[len(text.rstrip()) :]
    opening, marked, *others = pages
    if not opening.raw:
        return pages[1:], found.pages[-1]
    if _is_heading(opening.raw, marked.seam or ""):
        marked = replace(marked, raw=f"{opening.raw}{marked.seam}{marked.raw}", seam=None)
        return [marked, *others], found.pages[-1]
    goes_on = before is not None and _follows(before, marked.label or "")
    return [replace(opening, label=before if goes_on else None), marked, *others], found.pages[-1]


def _seam(gap: str) -> str:
    """White space as it stands between two pieces of text that are read as one."""
    return "\n\n" if gap.count("\n") > 1 else "\n" if "\n" in gap else gap[:1]


def _is_heading(opening: str, seam: str) -> bool:
    """Whether what stands before the first mark of a part is no more than its heading."""
    return "\n" in seam and len(opening) <= LONGEST_HEADING and not opening.endswith(_SENTENCE_ENDS)


def _follows(label: str, other: str) -> bool:
    first, second = _number(label), _number(other)
    return first is not None and second == first + 1


def _number(label: str) -> int | None:
    """A printed number, in digits or Roman; None for any other label."""
    if label.isascii() and label.isdigit():
        return int(label)
    values = [_ROMAN.get(letter, 0) for letter in label.lower()]
    if not all(values):
        return None
    return sum(-here if here < after else here for here, after in zip(values, [*values[1:], 0], strict=True))
