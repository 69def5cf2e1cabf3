"""What an answer tells of its documents: files passed over, which pages were meant, what its quotes were held to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from reportlab.pdfgen import canvas

from sharedllm_cli.answer import SECOND_EXTRACTION, Answer
from sharedllm_cli.answering.pipeline import Pipeline
from sharedllm_cli.config import Settings
from sharedllm_cli.engine import Engine
from sharedllm_cli.index import catalog
from sharedllm_cli.progress import Silent


@pytest.fixture
def engine(model_folder: Callable[..., Path], private_home: Path) -> Engine:
    model = str(model_folder("llama", max_position_embeddings=8192))
    settings = Settings(model=model, device="cpu", evidence_tokens=300, max_new_tokens=2)
    return Engine(settings, home=private_home, reporter=Silent())


@pytest.fixture
def club(tmp_path: Path) -> Path:
    """A folder with a PDF of four pages, which are printed i, ii, 1, 2, and two files that are not read."""
    folder = tmp_path / "club"
    folder.mkdir()
    sheet = canvas.Canvas(str(folder / "book.pdf"))
    for label in ("i", "ii", "1", "2"):
        sheet.drawString(72, 700, f"The bees of page {label} fly from clover to clover.")
        sheet.drawString(290, 40, label)
        sheet.showPage()
    sheet.save()
    for name in ("contract.doc", "boats.numbers"):
        (folder / name).write_text("x")
    return folder


def ask(engine: Engine, path: Path, question: str = "Where do the bees fly?", pages: str | None = None) -> Answer:
    *_, answer = engine.ask(engine.open([str(path)]), question, pages=pages)
    assert isinstance(answer, Answer)
    return answer


def test_files_that_were_passed_over_belong_to_every_answer(engine: Engine, club: Path) -> None:
    told = f"not read in {club}: boats.numbers (Numbers), contract.doc (Word)"
    for question in ("Where do the bees fly?", "Which brewery bought the engine?"):
        answer = ask(engine, club, question)
        assert [file.name for file in answer.not_read] == ["boats.numbers", "contract.doc"]
        assert told in answer.warnings
    assert not answer.answered


def test_a_plan_tells_of_them_too(engine: Engine, club: Path) -> None:
    engine.reporter.warnings.clear()
    engine.plan([str(club)])
    assert engine.reporter.warnings == [f"not read in {club}: boats.numbers (Numbers), contract.doc (Word)"]


def test_a_plan_names_the_kind_of_an_indexed_file(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "page.pdf").write_text("<html><p>The bees fly home.</p></html>")
    engine.open([str(tmp_path / "page.pdf")])
    engine.reporter.warnings.clear()
    engine.plan([str(tmp_path / "page.pdf")])
    assert engine.reporter.warnings == ["page.pdf is a web page, not a PDF, and is read as such"]


def test_which_pages_were_meant_belongs_to_the_answer(engine: Engine, club: Path) -> None:
    answer = ask(engine, club / "book.pdf", pages="2")
    assert {(source.page, source.page_label) for source in answer.sources} == {(4, "2")}
    assert "--pages 2: the page printed 2 (counted 4) is read; counted:2 counts from page 1" in answer.warnings
    assert {source.page for source in ask(engine, club / "book.pdf", pages="counted:2").sources} == {2}


def test_a_pdf_s_quotes_are_checked_whatever_gives_the_answer(engine: Engine, club: Path) -> None:
    answer = ask(engine, club / "book.pdf")
    assert answer.sources
    assert {(source.verified, source.checked) for source in answer.sources} == {(True, SECOND_EXTRACTION)}
    assert all(source.pages == 4 for source in answer.sources)


def test_a_stopped_answer_checks_nothing(engine: Engine, club: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("checked before there was an answer")

    monkeypatch.setattr(Pipeline, "_answer", never)
    pieces = engine.ask(engine.open([str(club)]), "Where do the bees fly?")
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]


def test_the_list_of_indexes_counts_no_part_as_a_page(engine: Engine, tmp_path: Path) -> None:
    import sys

    sys.path.insert(0, str(Path(__file__).parents[1] / "documents"))
    from test_epub import make_epub

    (tmp_path / "book.epub").write_bytes(make_epub())
    engine.open([str(tmp_path / "book.epub")])
    assert [entry.pages for entry in catalog.entries(engine.store.root)] == [0]
