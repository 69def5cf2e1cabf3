"""What lies between two tokens, also in white space that has many tokens of its own."""

from __future__ import annotations

import numpy as np
import pytest

from sharedllm_cli.retrieval.boundaries import Boundary, TokenText, split_sentences


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


def test_a_row_of_a_table_ends_where_its_line_does() -> None:
    rows = "Date | Paid | Left\n1 May | 24.50 | 39.00\nas agreed\nby both"
    text = tokens_of(rows, 1)
    places = [number for number, character in enumerate(rows) if character == "\n"]
    assert [text.boundary(place + 1) for place in places] == [Boundary.SENTENCE, Boundary.SENTENCE, Boundary.LINE]
    assert text.boundary(rows.index("Paid")) == Boundary.WORD
    assert tokens_of("a||b\nc", 1).boundary(5) == Boundary.LINE, "bars of code"
    far = f"{'x ' * 400}| y\nz"
    assert tokens_of(far, 1).boundary(len(far) - 1) == Boundary.SENTENCE


def test_an_abbreviation_before_a_number_ends_no_sentence() -> None:
    law = "Pub. L. No. 105-304, 112 Stat. 2827, 105th Cong. 2d Sess. 17 applies. Art. 5 does not."
    assert split_sentences(law) == [law[: law.index(" Art.")], "Art. 5 does not."]


def test_a_short_word_before_its_number_ends_no_sentence() -> None:
    note = "The Act (Oct. 27, 1998) adds a section. See Kap. 4 and Ser. 2. It was in Oct. Nobody came."
    assert split_sentences(note) == [
        "The Act (Oct. 27, 1998) adds a section.",
        "See Kap. 4 and Ser. 2.",
        "It was in Oct.",
        "Nobody came.",
    ]
