"""Bytes of a text file in any encoding, also mixed ones, without a mark, and with NULs between."""

from __future__ import annotations

import pytest

from sharedllm_cli.documents.encodings import decode
from sharedllm_cli.errors import DocumentError

SCRIPTS = {
    "latin": "The pan — “hot” — costs 5 €. Ā.\n",
    "greek": "Το τηγάνι είναι ζεστό.\n",
    "cyrillic": "Сковорода горячая.\n",
    "japanese": "フライパンは熱いです。水を入れる。\n",
}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_text_without_a_mark(script: str, encoding: str) -> None:
    text = SCRIPTS[script] * 40
    assert decode(text.encode(encoding), "x.txt") == (text, [])


def test_half_a_character_at_the_end_is_told() -> None:
    text, warnings = decode("Hot pans.\n".encode("utf-16-le") * 30 + b"\n", "x.txt")
    assert text.startswith("Hot pans.\nHot")
    assert warnings == ["x.txt: 1 character could not be decoded as utf-16-le"]


@pytest.mark.parametrize(
    ("data", "text", "count"),
    [
        (b"Hot pans\0 here.", "Hot pans\n here.", "1 NUL byte is"),
        (b"a long list.txt\0another file.txt\0", "a long list.txt\nanother file.txt", "2 NUL bytes are"),
        (b"Before." + b"\0" * 4096 + b"After.", "Before.\nAfter.", "4096 NUL bytes are"),
        ("naïve pans.".encode() + b"\0" * 9, "naïve pans.", "9 NUL bytes are"),
    ],
)
def test_nul_between_pieces_of_text(data: bytes, text: str, count: str) -> None:
    assert decode(data, "x.txt") == (text, [f"x.txt: {count} left out"])


@pytest.mark.parametrize(
    "data",
    [
        bytes(range(256)) * 8,
        b"\x01\0\0\0\x02\0\0\0" * 400,
        b"a\0\0b\0c\0\0d\0" * 400,
        b"\0" * 5000,
        bytes(number * 37 % 256 for number in range(9000)),
    ],
)
def test_numbers_of_a_program_are_no_text(data: bytes) -> None:
    with pytest.raises(DocumentError, match="binary"):
        decode(data, "x.dat")


def test_pieces_in_another_encoding_keep_their_letters() -> None:
    text = "naïve “café”\n"
    assert decode(text.encode() * 9 + text.encode("cp1252") * 3, "x.txt") == (
        text * 12,
        ["x.txt: 12 characters are not UTF-8 and read as Windows-1252"],
    )


def test_a_cut_character_is_lost_and_told() -> None:
    data = "naïve – café\n".encode() * 9 + "–".encode()[:2] + b" end"
    assert decode(data, "x.txt") == (
        "naïve – café\n" * 9 + "\ufffd end",
        ["x.txt: 1 character could not be decoded as utf-8"],
    )


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1251", "Быстрая коричневая лиса прыгает через собаку.\n"),
        ("shift_jis", "これは日本語の文章です。水の中に鷺が立っていた。\n"),
        ("gb18030", "快速的棕色狐狸跳过懒狗。这是一本关于历史的书。\n"),
        ("euc_kr", "빠른 갈색 여우가 게으른 개를 뛰어넘는다.\n"),
        ("cp1252", "Là-bas, naïve « été » où ça commença.\n"),
    ],
)
def test_another_encoding_is_not_taken_for_a_mixture(encoding: str, text: str) -> None:
    assert decode((text * 30).encode(encoding), "x.txt")[0] == text * 30
