"""Heads and feet of the pages of an Office text, each once, without the pages' numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from lxml import etree

from sharedllm_cli.documents.office.package import attribute, child, local

_COUNTER = re.compile(
    r"(?:\W|\d)*(?:(?:page|seite|p|s|pag|página|pagina|of|von|de|sur|di|van)\b(?:\W|\d)*)*", re.IGNORECASE
)
_BLOCKS = re.compile(r"</?(?!sup|sub|del|img|math|m\w+)\w+[^>]*>")


def told(
    root: etree._Element, relations: dict[str, tuple[str, str]], read: Callable[[str], list[str]], *, even: bool
) -> list[str]:
    """A paragraph for each head and foot that some page shows; `even`: even pages have their own."""
    found: dict[str, None] = {}
    for section in root.iter("{*}sectPr"):
        shown = {
            "default",
            *(("first",) if child(section, "titlePg") is not None else ()),
            *(("even",) if even else ()),
        }
        for place, noun in (("header", "Head"), ("footer", "Foot")):
            for reference in section:
                if local(reference) == f"{place}Reference" and attribute(reference, "type", "default") in shown:
                    found[paragraph(noun, read(relations.get(attribute(reference, "id"), ("", ""))[1]))] = None
    return list(found)


def paragraph(noun: str, words: Sequence[str]) -> str:
    """One head or foot, its lines side by side; empty without any."""
    return f"<p>{noun} of the pages: {' · '.join(words)}</p>" if words else ""


def lines(pieces: Sequence[str]) -> list[str]:
    """The lines of some HTML blocks that say more than a page's number."""
    flat = (" ".join(_BLOCKS.sub(" ", piece).split()) for piece in pieces)
    return [line for line in flat if not _COUNTER.fullmatch(line)]
