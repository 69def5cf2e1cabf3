"""A file of any make is read in a time that grows with its length: a megabyte never takes minutes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sharedllm_cli.documents import readers, running_heads
from sharedllm_cli.documents.characters import WIDEST_INDENT, clean
from sharedllm_cli.documents.encodings import decode
from sharedllm_cli.documents.markup.html_reader import from_html
from sharedllm_cli.documents.markup.markdown import from_markdown
from sharedllm_cli.documents.markup.restructured import from_rst
from sharedllm_cli.documents.sources import SourceFile

LENGTH = 400_000
SECONDS = 20
"""What is linear takes a second or two; what is not, minutes: a slow machine tells them apart too."""


@pytest.fixture(autouse=True)
def bounded() -> object:
    started = time.process_time()
    yield
    assert time.process_time() - started < SECONDS


def filled(pattern: str) -> str:
    return (pattern * (LENGTH // len(pattern) + 1))[:LENGTH]


@pytest.mark.parametrize("pattern", [" ", "\t", ". ", ". . . x", ".   \t  ", "… ", "\u00ad ", "x" + " " * 5000])
@pytest.mark.parametrize("layout", [True, False])
def test_characters_of_a_long_line(pattern: str, layout: bool) -> None:
    assert clean(f"a{filled(pattern)}b", layout=layout)


PROSE = "the heron stood in the shallow water for most of the morning and nobody\n" * 3


@pytest.mark.parametrize("pattern", ["a@", "://", "://a.", "a/", "'a-", "a-", "word", ".'", "1.", ") "])
@pytest.mark.parametrize("ending", [" b-", ".", "", " =", "@!"])
def test_the_seam_after_a_long_line(pattern: str, ending: str) -> None:
    data = f"{PROSE}x{filled(pattern)}{ending}\nand so it goes on in the line after it\n{PROSE}".encode()
    assert "goes on" in readers.read(SourceFile("x.txt", Path("x.txt")), data=data).text


def test_the_page_numbers_of_many_pages() -> None:
    """Pairs of pages that count, each in its own way, and pages without a number between them."""
    pages: list[list[str]] = []
    for pair in range(8000):
        number = (pair * 7919) % 90000
        pages += [["words", str(number)], ["words", str(number + 1)], ["other words"]]
    assert len(running_heads.bodies(pages)) == len(pages)


@pytest.mark.parametrize("pattern", ["<table><tr><td>", "<td>x", "<td><p>x</p>", "<ul><li>x", "<a href=x>y", "<a><br>"])
def test_elements_that_nest_or_follow_one_another(pattern: str) -> None:
    # The parser gives up below some depth; what is read above it is no longer than a few times the page.
    assert len(from_html(f"<body>{filled(pattern)}the end").text) < 10 * LENGTH


@pytest.mark.parametrize("pattern", ["*a ", "**a ", "a_ ", "`a ", "|a| ", "a-", "a_", "[a]_ ", ":a:`b "])
def test_long_paragraphs_of_rst(pattern: str) -> None:
    text = from_rst(f"Title\n=====\n\nA *short* one.\n\n{filled(pattern)[: LENGTH // 4]}\n\nthe end").text
    assert text.startswith("Title\n\nA short one.\n\n")
    assert text.endswith("the end")


@pytest.mark.parametrize(
    "pattern", ["[", "![", "`a", "!!! a\n", "> [!N]\n> ", ":::a\n", "a\n: ", "$a", "$$a\n", "{a}`", "- "]
)
def test_marks_of_markdown(pattern: str) -> None:
    text = from_markdown(f"{filled(pattern)[: LENGTH // 4]}\n\nthe end").text
    assert text.rstrip("`$").endswith("the end")


@pytest.mark.parametrize("pattern", ["<nav>x", "<div hidden>x", "<button>x", "<nav><p>x y z<ul><li><a>x</a>"])
def test_hidden_elements(pattern: str) -> None:
    assert len(from_html(f"<body>{filled(pattern)}").text) < 10 * LENGTH


@pytest.mark.parametrize("pattern", [".. a::\n\n", ".. a:: b\n   :c: d\n\n   e\n\n", ":a: b\n", ":ref:`a` "])
def test_directives_and_fields_of_rst(pattern: str) -> None:
    assert from_rst(f"{filled(pattern)[: LENGTH // 20]}\n\nthe end").text.endswith("the end")


def test_the_indentation_of_a_line_is_bounded() -> None:
    assert clean(f"a\n{filled(' ')}b", layout=True) == f"a\n{' ' * WIDEST_INDENT}b"


@pytest.mark.parametrize("pattern", [b"\xe9", "\u00e9\u00ff".encode() + b"\xff", b"\0abcde", b"a b c d\0"])
def test_bytes_of_no_encoding(pattern: bytes) -> None:
    data = "naïve ".encode() * 9 + pattern * (LENGTH // len(pattern))
    assert len(decode(data, "x.txt")[0]) > LENGTH // 4
