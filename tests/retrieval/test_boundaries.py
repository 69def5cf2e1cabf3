"""What lies between two tokens, also in white space that has many tokens of its own."""

from __future__ import annotations

import numpy as np
import pytest

from sharedllm_cli.retrieval.boundaries import Boundary, TokenText


def tokens_of(text: str, length: int) -> TokenText:
    """A text whose tokens all have one length."""
    starts = np.arange(0, len(text), length, dtype=np.int32)
    ends = np.minimum(starts + length, len(text)).astype(np.int32)
    return TokenText(text, starts, ends, np.array([[0, len(starts)]], dtype=np.int32))


@pytest.mark.parametrize(
    ("gap", "boundary"),
    [(" ", Boundary.SENTENCE), ("\n\n", Boundary.PARAGRAPH), (" " * 99 + "\n\n", Boundary.PARAGRAPH)],
)
@pytest.mark.parametrize("times", [1, 200])
def test_a_gap_is_the_same_for_each_token_in_it(gap: str, boundary: Boundary, times: int) -> None:
    text = tokens_of(f"It ended.{gap * times}Then more.", 1)
    found = {text.boundary(token) for token in range(9, 9 + len(gap) * times + 1)}
    assert found == {boundary}
    assert text.boundary(8) == text.boundary(10 + len(gap) * times) == Boundary.INSIDE


def test_each_long_gap_is_scanned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    text = tokens_of(f"a{' ' * 200_000}b", 1)
    assert text.boundary(5) == text.boundary(199_999) == Boundary.WORD

    class Counted(str):
        looks = 0

        def __getitem__(self, key: object) -> str:
            Counted.looks += 1
            return super().__getitem__(key)  # type: ignore[index]

    object.__setattr__(text, "text", Counted(text.text))
    assert {text.boundary(token) for token in range(1, 200_000, 1000)} == {Boundary.WORD}
    assert Counted.looks < 1000
