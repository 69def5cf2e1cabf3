"""A hyphen at the end of a line of a source text: whether the word goes on in the next line, with it or without it."""

from __future__ import annotations

import re
from collections import Counter
from functools import cached_property

from sharedllm_cli.documents.normalise import CONJUNCTIONS

_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_HEAD = re.compile(r"(?<![\w-])[\w-]{0,60}\w-\Z")
_TAIL = re.compile(r"\w+")
_BREAK = re.compile(r"(?<=\w)-[ \t]*\n[ \t]*(?=\w)")


class LineEnds:
    """The line ends of one source text. An author breaks a line behind a hyphen that is there: it stays.

    It goes only where the text has the word without it and never with it.
    """

    def __init__(self, source: str) -> None:
        self.source = source

    @cached_property
    def _words(self) -> Counter[str]:
        return Counter(_WORD.findall(self.source.casefold()))

    def seam(self, before: str, after: str) -> str | None:
        """What stands instead of the hyphen and the line end between two texts; None where no word goes on."""
        head, tail = _HEAD.search(before[-64:]), _TAIL.match(after[:64])
        if head is None or tail is None or tail[0].casefold() in CONJUNCTIONS:
            return None
        first, second = head[0][:-1].casefold(), tail[0].casefold()
        return "" if self._words[first + second] and not self._words[f"{first}-{second}"] else "-"

    def joined(self, text: str) -> str:
        """A text with such line ends closed."""
        pieces: list[str] = []
        position = 0
        for match in _BREAK.finditer(text):
            seam = self.seam(text[max(0, match.start() - 64) : match.start() + 1], text[match.end() : match.end() + 64])
            if seam is not None:
                pieces += [text[position : match.start()], seam]
                position = match.end()
        return "".join([*pieces, text[position:]])
