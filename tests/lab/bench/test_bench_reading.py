"""The benchmark of reading: what counts as the same word, and that no fault of a reading passes for a right one."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import wrap

import pytest
from reportlab.pdfgen import canvas

from sharedllm_cli.errors import ResourceError
from sharedllm_cli.lab.bench import reading
from sharedllm_cli.lab.bench.reading_pages import MARK, SHEETS, Sheet, Truth, by_columns, grid, truth
from sharedllm_cli.lab.bench.reading_producers import PRODUCERS, Producer, flat_odf, html, latex

KINDS = {sheet.kind: sheet for sheet in SHEETS}


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("4.7 × 10⁶", "4.7 × 10^6"),
        ("10^{−9} s", "10⁻⁹ s"),
        ("m² and m^2", "m^2 and m²"),
        ("H₂O", "H2O"),
        ("2½ feet", "2 1/2 feet"),
        ("ﬁsh – “eel”", 'fish - "eel"'),
        ("the mill, (old)", "the mill old"),
        ("水車。川", "水車\n。川"),
    ],
)
def test_linear_forms_of_one_thing_are_the_same(text: str, same: str) -> None:
    assert reading.words(text) == reading.words(same)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("106", "10^6"),
        ("10 6", "10^6"),
        ("m2", "m²"),
        ("212", "2½"),
        ("4 °C", "−4 °C"),
        ("0.05", "< 0.05"),
        ("19211923", "1921–1923"),
        ("H O", "H2O"),
        ("水 車", "水車"),
    ],
)
def test_a_number_that_changed_is_not_the_same(wrong: str, right: str) -> None:
    assert reading.words(wrong) != reading.words(right)


def test_order_is_the_longest_common_subsequence() -> None:
    wanted = ["label", "value", "label", "value", "end"]
    assert reading.in_order(wanted, wanted) == 5
    assert reading.in_order(wanted, ["label", "label", "value", "value", "end"]) == 4
    assert reading.in_order(wanted, ["other", "words", "label", "only"]) == 1
    assert reading.in_order(wanted, []) == 0


@pytest.mark.parametrize("mark", ["granite 1 arches", "granite [1] arches", "granite^1 arches", "granite¹ arches"])
def test_a_mark_of_a_note_is_a_word_of_its_own(mark: str) -> None:
    wanted = truth(Sheet("notes", flow=("granite[[Cut at Olave.]] arches",)))
    total, right, lost, invented = reading.compare(wanted, f"{mark}\n1 Cut at Olave.")
    assert (total, right, lost, invented) == (7, 7, (), ())


def test_a_mark_that_is_fused_with_its_word_is_wrong() -> None:
    wanted = truth(Sheet("notes", flow=("granite[[Cut at Olave.]] arches",)))
    _, right, lost, invented = reading.compare(wanted, "granite1 arches\n1 Cut at Olave.")
    assert (right, lost, invented) == (5, ("granite", "1"), ("granite1",))


def test_a_head_may_be_anywhere_but_not_be_lost_and_page_numbers_may_be_left_out() -> None:
    wanted = truth(Sheet("prose", flow=("one two three",), head="Northern Waters"))
    assert reading.compare(wanted, "one two three Northern Waters") == (5, 5, (), ())
    assert reading.compare(wanted, "Northern Waters one two 1 Northern Waters three 2") == (5, 5, (), ())
    assert reading.compare(wanted, "Head of pages 1 to 5: Northern Waters. one two three") == (5, 5, (), ())
    assert reading.compare(wanted, "one two three") == (5, 3, ("Northern", "Waters"), ())
    assert reading.compare(wanted, "Northern one two three Waters four") == (5, 4, (), ("four",))


def test_labels_drawn_before_values_are_out_of_order() -> None:
    pieces = grid((("Name", "Ada"), ("Town", "Orrin")), (10, 40), 20)
    sheet = Sheet("form", pieces=pieces, drawn=by_columns(pieces))
    drawn = " ".join(pieces[number].text for number in sheet.drawn)
    assert drawn == "Name Town Ada Orrin"
    assert reading.compare(truth(sheet), "Name Ada\nTown Orrin")[1] == 4
    assert reading.compare(truth(sheet), drawn)[1] == 3


def test_every_sheet_has_words_and_a_source_of_each_producer() -> None:
    assert len(KINDS) == len(SHEETS) == 18
    for sheet in SHEETS:
        wanted = truth(sheet)
        whole = "\n".join([wanted.flow, *wanted.floating]).replace(MARK, "")
        total, right, lost, invented = reading.compare(wanted, whole)
        assert (right, lost, invented) == (total, (), ())
        assert len(reading.words(wanted.flow)) > 25
        for producer in PRODUCERS:
            if sheet.kind not in producer.lacks:
                assert len(producer.source(sheet)) > 300


def test_sources_keep_what_is_raised_and_the_order_of_drawing() -> None:
    powers, form = KINDS["powers"], KINDS["form"]
    assert r"10\textsuperscript{6}" in latex(powers).decode()
    assert "10<sup>6</sup>" in html(powers).decode()
    assert '10<text:span text:style-name="U">6</text:span>' in flat_odf(powers).decode()
    for source in (latex, html, flat_odf):
        text = source(form).decode()
        assert text.index("Surname") < text.index("Boat") < text.index("Underhill") < text.index("Maltese")


def drawn_here(sheet: Sheet) -> bytes:
    sheet_text = truth(sheet)
    page = canvas.Canvas("unused.pdf")
    for row, line in enumerate([*sheet_text.flow.split("\n"), *sheet_text.floating]):
        for place, part in enumerate(wrap(line, 90)):
            page.drawString(20, 800 - 40 * row - 12 * place, part)
    return bytes(page.getpdfdata())


def test_a_run_reads_what_the_producers_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Here(Producer):
        exists = True

        def make(self, sheet: Sheet, target: Path) -> None:
            target.write_bytes(drawn_here(sheet))

    here = Here("here", "nothing", ".pdf", drawn_here, lambda program, source: [])
    absent = Producer("absent", "no-such-program-anywhere", ".x", latex, lambda program, source: [program])
    monkeypatch.setattr(reading, "PRODUCERS", (here, absent))
    monkeypatch.setattr(reading, "SHEETS", (KINDS["table"], KINDS["slide"]))
    assert reading.main(["--pages", str(tmp_path), "--out", str(tmp_path / "found.json"), "--repeats", "1"]) == 0
    shown = capsys.readouterr()
    assert "skipped: absent (no-such-program-anywhere is not installed)" in shown.err
    assert shown.out.splitlines()[-1].startswith("| all | 100.0% | 100.0% | 0 | 0 |")
    found = json.loads((tmp_path / "found.json").read_text("utf-8"))
    assert [(score["producer"], score["kind"], score["lost"]) for score in found] == [
        ("here", "table", []),
        ("here", "slide", []),
    ]
    assert (tmp_path / "here-table.pdf").exists()


def test_a_pdf_that_can_not_be_read_counts_as_lost(tmp_path: Path) -> None:
    target = tmp_path / "broken.pdf"
    target.write_bytes(b"%PDF-1.4 nothing")
    [score] = reading.measure([(PRODUCERS[0], "slide", target)], reading.as_asked)
    assert score.in_order == 0
    assert len(score.lost) == score.words


def test_a_program_that_makes_no_pdf_is_an_error(tmp_path: Path) -> None:
    idle = Producer("idle", "true", ".txt", latex, lambda program, source: [program, source.name])
    with pytest.raises(ResourceError, match=r"idle made no page\.pdf"):
        idle.make(KINDS["slide"], tmp_path / "page.pdf")


def test_truth_is_one_text() -> None:
    sheet = Sheet("x", "Title", ("10^{6} H_{2}O",), rows=(("a", "b"),), stamp="DRAFT")
    assert truth(sheet) == Truth("Title\n10^6 H2O\na b", (), "DRAFT")


def test_reading_is_timed_beside_pdfium_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = canvas.Canvas(str(tmp_path / "ferry.pdf"))
    for page in range(3):
        for row in range(40):
            sheet.drawString(60, 780 - 15 * row, f"The ferry crosses {row} times on day {page} of the week.")
        sheet.showPage()
    sheet.save()
    assert reading.main(["--beside", str(tmp_path / "ferry.pdf"), "--repeats", "1"]) == 0
    heads, _, row, total = (line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines())
    assert dict(zip(heads, row, strict=True))["pages"] == "3"
    text, places, read, times, _ = map(float, row[2:])
    assert 0 < text <= places < read
    assert read / text == pytest.approx(times, rel=0.3)
    assert total[2:] == row[2:]
