"""Reports: one file that needs nothing else, in which what documents and models say is only text."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from fake_engine import make_answer, make_source
from hypothesis import given
from hypothesis import strategies as st

from sharedllm_cli.answer import Answer, AnswerSentence, Coverage
from sharedllm_cli.config import Settings
from sharedllm_cli.documents.pdf.page_pictures import Box, PagePicture
from sharedllm_cli.errors import UsageError
from sharedllm_cli.reading.sights import Sight, TextAround
from sharedllm_cli.serving.report import pieces_of, refuse_overwriting, report, source_page, write_report

HOSTILE = "<img src=x onerror=alert(1)>\"'&\u202e</style><script>alert(2)</script>\x00\ud800"
PICTURE = PagePicture(b"\x89PNG", "image/png", 100, 150, (Box(0.1, 0.2, 0.5, 0.25),), 9, 8)


def page(answer: Answer, sights: list[Sight] | None = None, **settings: object) -> BeautifulSoup:
    shown = sights or [Sight(TextAround("before ", source.quote, " after", True, True)) for source in answer.sources]
    when = datetime(2026, 3, 4, 15, 6)
    return BeautifulSoup(report(answer, shown, Settings(**settings), when), "html.parser")  # type: ignore[arg-type]


def test_sentences_have_links_to_their_sources() -> None:
    sentences = [AnswerSentence("The lamp is lit.", [1, 2], []), AnswerSentence("Anna rows.", [], ["Anna"])]
    answer = make_answer(
        answer="The lamp is lit. Anna rows.", sentences=sentences, sources=[make_source(), make_source(page=3)]
    )
    made = page(answer)
    links = made.select(".answer a.cite")
    assert [link["href"] for link in links] == ["#source-1", "#source-2"]
    assert all(made.select_one(str(link["href"])) is not None for link in links)
    assert "not in the passages: Anna" in made.select_one(".unsupported").text  # type: ignore[union-attr]
    assert made.select_one("h1").text == answer.question  # type: ignore[union-attr]


def test_a_picture_is_in_the_file_with_its_marks() -> None:
    made = page(make_answer(), [Sight(TextAround("", "x", ""), PICTURE)])
    image = made.select_one("img")
    assert image is not None
    assert str(image["src"]).startswith("data:image/png;base64,")
    assert image["alt"] == "Page xii (12) of book.pdf as it is printed"
    assert made.select_one(".pen")["style"] == "left:10.000%;top:20.000%;width:40.000%;height:5.000%"  # type: ignore[index]
    assert "8 of the quote's 9 words" in made.text
    assert made.select_one("details").has_attr("open")  # type: ignore[union-attr]


def test_a_text_is_shown_with_its_words_marked() -> None:
    made = page(make_answer())
    assert made.select_one("mark").text == make_source().quote  # type: ignore[union-attr]
    assert made.select_one(".around").text == f"… before {make_source().quote} after …"  # type: ignore[union-attr]


def test_what_is_missing_and_what_was_warned_of_is_said() -> None:
    answer = make_answer(
        answered=False,
        reason="the document does not say",
        warnings=["book.pdf: no text on page 4"],
        coverage=Coverage(5000, 1024, 10, 12, [4]),
        sources=[make_source(supports=False), make_source(read=False, supports=False)],
    )
    sights = [
        Sight(TextAround("", "x", ""), None, "book.pdf has changed since it was read"),
        Sight(TextAround("", "x", "")),
    ]
    made = page(answer, sights, seed=7, temperature=0.5)
    assert "the document does not say" in made.select_one(".answer .remark").text  # type: ignore[union-attr]
    assert "no text on page 4" in made.text
    assert "book.pdf has changed since it was read." in made.text
    assert [heading.text for heading in made.select("h2")] == [
        "Worth knowing", "Closest passages", "Also found", "What was read, and by what",
    ]  # fmt: skip
    facts = dict(zip((dt.text for dt in made.select("dt")), (dd.text for dd in made.select("dd")), strict=True))
    assert facts["Read for this answer"] == "1,024 of 5,000 tokens"
    assert facts["Pages without text"] == "4"
    assert facts["Model"] == "smollm2-135m-instruct on cpu"
    assert facts["Settings"] == "temperature: 0.5, seed: 7"


def test_a_password_is_never_in_a_report() -> None:
    assert "oyster" not in report(make_answer(), [Sight(TextAround("", "x", ""))], Settings(password="oyster"))


def test_hostile_texts_stay_texts() -> None:
    source = make_source(document=HOSTILE, quote=HOSTILE, heading=HOSTILE, columns=HOSTILE, page_label=HOSTILE)
    answer = make_answer(
        HOSTILE,
        answer=HOSTILE,
        sentences=[AnswerSentence(HOSTILE, [1], [HOSTILE])],
        sources=[source],
        warnings=[HOSTILE],
    )
    text = report(answer, [Sight(TextAround(HOSTILE, HOSTILE, HOSTILE), PICTURE, HOSTILE)], Settings(system=HOSTILE))
    text += source_page(1, source, Sight(TextAround(HOSTILE, HOSTILE, HOSTILE), None, HOSTILE))
    made = BeautifulSoup(text, "html.parser")
    assert made.find("script") is None
    assert all(str(image["src"]).startswith("data:") for image in made.select("img"))
    assert not [name for tag in made.find_all(True) for name in tag.attrs if name.startswith("on")]
    assert "<img src=x" not in text
    assert "\x00" not in text


def test_nothing_is_loaded_from_elsewhere() -> None:
    text = report(make_answer(), [Sight(TextAround("", "x", ""), PICTURE)], Settings())
    assert "default-src 'none'" in text
    addresses = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", text)
    assert addresses
    assert all(address.startswith(("#", "data:")) for address in addresses)


@given(st.lists(st.text("ab. \n", min_size=1, max_size=5), max_size=5), st.text("ab. \n", max_size=20))
def test_the_pieces_of_an_answer_join_to_it(sentences: list[str], rest: str) -> None:
    text = " ".join(sentences) + rest
    answer = make_answer(answer=text, sentences=[AnswerSentence(one, [1], []) for one in sentences])
    assert "".join(piece.text for piece in pieces_of(answer)).rstrip() == text.rstrip()


def test_sentences_of_another_text_are_not_mixed_into_the_answer() -> None:
    answer = make_answer(answer="The lamp.", sentences=[AnswerSentence("A sail.", [1], [])])
    assert [piece.text for piece in pieces_of(answer)] == ["The lamp."]


def test_a_report_replaces_reports_alone(tmp_path: Path) -> None:
    path = tmp_path / "answer.html"
    text = report(make_answer(), [Sight(TextAround("", "x", ""))], Settings())
    write_report(path, text)
    write_report(path, text.replace("lamp", "lantern"))
    assert "lantern" in path.read_text("utf-8")
    assert path.stat().st_mode & 0o077 == 0
    path.write_text("<!doctype html><p>a page of mine")
    with pytest.raises(UsageError, match="is no report"):
        write_report(path, text)
    assert "of mine" in path.read_text("utf-8")
    write_report(path, text, overwrite=True)
    assert "lamp" in path.read_text("utf-8")
    assert [one.name for one in tmp_path.iterdir()] == ["answer.html"]


def test_what_can_be_no_report_is_refused(tmp_path: Path) -> None:
    for path, said in ((tmp_path, "is a folder"), (tmp_path / "no" / "r.html", "there is no folder")):
        with pytest.raises(UsageError, match=said):
            refuse_overwriting(path)
    (tmp_path / "empty.html").touch()
    refuse_overwriting(tmp_path / "empty.html")


def test_an_answer_without_sources_is_a_report(tmp_path: Path) -> None:
    made = page(replace(make_answer(), sources=[], sentences=[]))
    assert "The lamp is lit at dusk." in made.select_one(".answer").text  # type: ignore[union-attr]
