"""The example document is what its script makes, and its sample questions are answered where they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pypdfium2
import pytest
from pypdf import PdfReader

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
PDF = EXAMPLES / "skerrow-light.pdf"


def _pages(path: Path) -> list[str]:
    document = pypdfium2.PdfDocument(path)
    return [page.get_textpage().get_text_range() for page in document]


def _make(path: Path) -> None:
    subprocess.run([sys.executable, str(EXAMPLES / "make_handbook.py"), str(path)], check=True)


@pytest.fixture(scope="module")
def remade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("handbook") / "one.pdf"
    _make(path)
    return path


def test_the_kept_document_is_what_its_script_makes(remade: Path) -> None:
    assert _pages(PDF) == _pages(remade), "run docs/examples/make_handbook.py and commit what it writes"


def test_equal_input_gives_equal_bytes(remade: Path, tmp_path: Path) -> None:
    _make(tmp_path / "two.pdf")
    assert (tmp_path / "two.pdf").read_bytes() == remade.read_bytes()


def test_it_has_what_makes_a_document_hard_to_quote_from() -> None:
    reader = PdfReader(PDF)
    assert reader.page_labels[:6] == ["i", "ii", "iii", "iv", "1", "2"]
    assert len(reader.pages) == len(reader.page_labels) == 29
    assert [entry.title for entry in reader.outline if not isinstance(entry, list)][1] == "2 The light"
    text = _pages(PDF)
    assert sum(page.count("The Skerrow Light: A Handbook for Its Keepers") for page in text) > 5, "running heads"
    assert sum(page.count("\ufffe") for page in text) >= 8, "hyphenated line ends, as PDFium marks them"


def test_references_and_contents_name_the_right_pages() -> None:
    text = [re.sub(r"\s+", " ", page) for page in _pages(PDF)]
    for number, page in re.findall(r"section (\d+\.\d+) on page (\d+)", " ".join(text)):
        assert re.search(rf"(?<![\d.]){re.escape(number)} [A-Z]", text[int(page) + 3]), (number, page)
    contents = re.findall(r"(\d+\.\d) ([A-Z][\w ,]+?) (?:\. ?)+(\d+)", " ".join(text[2:4]))
    assert len(contents) > 40
    for number, title, page in contents:
        assert f"{number} {title}" in text[int(page) + 3]


def test_the_sample_questions_are_answered_on_the_pages_given() -> None:
    """Every longer word and every number of the answer stands on its page."""
    text = _pages(PDF)
    rows = re.findall(r"^\| (.+\?) \| (.+) \| (\d+) \|$", (EXAMPLES / "README.md").read_text("utf-8"), re.MULTILINE)
    assert len(rows) == 10
    for question, answer, page in rows:
        telling = [word for word in re.findall(r"[\w,]*\w", answer) if len(word) > 3 or word.isdigit()]
        missing = [word for word in telling if word not in text[int(page) + 3]]
        assert not missing, (question, missing)
