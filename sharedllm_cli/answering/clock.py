"""The seconds of one question: search, first token, whole answer."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

from sharedllm_cli.answer import Timing
from sharedllm_cli.generation.stream import Finish

_Pieces = Iterator[tuple[str, Finish | None]]


class Clock:
    """Times the steps of one question. Building trees counts apart from the first token."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._started = perf_counter()
        self._decoding_from = 0.0

    def _seconds(self) -> float:
        return perf_counter() - self._started

    def searched(self, index_s: float, search_s: float) -> None:
        """Note what building trees and the search took; reading the tree counts to the first token alone."""
        self._timing.index_s, self._timing.search_s = index_s, search_s

    def decoding(self, pieces: _Pieces) -> _Pieces:
        """Count the pieces, one a token, as they pass."""
        self._decoding_from = self._seconds()
        for piece in pieces:
            if not self._timing.new_tokens:
                self._timing.first_token_s = self._seconds() - self._timing.index_s
            self._timing.new_tokens += 1
            yield piece

    def written(self, *, at_once: bool = False) -> None:
        """The answer is written. The tokens of compared answers come `at_once`: comparing them took the time."""
        timing = self._timing
        timing.total_s = self._seconds()
        timing.first_token_s = timing.first_token_s or timing.total_s
        spent = timing.total_s - (self._decoding_from if at_once else timing.index_s + timing.first_token_s)
        timing.tokens_per_s = (timing.new_tokens - 1) / spent if timing.new_tokens > 1 else 0.0
