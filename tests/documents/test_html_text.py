"""What a browser shows by other means than letters is said in letters: numbers, marks, powers, columns, formulas."""

from __future__ import annotations

from pathlib import Path

import pytest

from sharedllm_cli.documents import readers
from sharedllm_cli.documents.characters import clean
from sharedllm_cli.documents.markup import html_reader
from sharedllm_cli.documents.sources import SourceFile

CASES = Path(__file__).parents[3] / "shared" / "cases"


def text(html: str) -> str:
    return clean(html_reader.from_html(f"<html><body>{html}").text, layout=True)


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<ol type="a"><li>rent<li>heat</ol>', "a. rent\nb. heat"),
        ('<ol type="I" start="4"><li>rent<li>heat</ol>', "IV. rent\nV. heat"),
        ('<ol><li>x<li value="7">rent<li>heat</ol>', "1. x\n7. rent\n8. heat"),
        ("<ol reversed><li>gold<li>silver<li>bronze</ol>", "3. gold\n2. silver\n1. bronze"),
        ('<ol reversed start="10"><li>ten<li>nine</ol>', "10. ten\n9. nine"),
        ('<ol><li>one<ol type="i"><li>in<li>im</ol><li>two</ol>', "1. one\n  i. in\n  ii. im\n2. two"),
        ('<ol style="list-style: upper-alpha"><li>x<li>y</ol>', "A. x\nB. y"),
        ('<ol type="a" start="26"><li>x<li>y</ol>', "z. x\naa. y"),
        ('<ol type="a" start="0"><li>x<li>y</ol>', "0. x\na. y"),
        ('<ul style="list-style-type: none"><li>x</ul>', "x"),
        ("<ol><li><p>one</p><p>more</p></ol>", "1. one\nmore"),
    ],
)
def test_lists_are_numbered_as_a_browser_numbers_them(html: str, expected: str) -> None:
    assert text(html) == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("4.7 × 10<sup>6</sup> spores", "4.7 × 10^6 spores"),
        ("11 mg m<sup>&minus;3</sup>", "11 mg m^-3"),
        ("25 km<sup>2</sup> of land", "25 km^2 of land"),
        ("12 in<sup>2</sup>", "12 in^2"),
        ("the trade they engaged in<sup>2</sup>", "the trade they engaged in [2]"),
        ("x<sup>2</sup> + (a+b)<sup>n</sup> = 3<sup>2</sup>", "x^2 + (a+b)^n = 3^2"),
        ("2<sup>16</sup> and e<sup>-kt</sup>", "2^16 and e^(-kt)"),
        ("covered 38<sup>2</sup> mills", "covered 38 [2] mills"),
        ("in 1921<sup>3</sup>, he", "in 1921 [3], he"),
        ("built of granite<sup>2</sup>.", "built of granite [2]."),
        ("at the hood.<sup>4,5</sup>", "at the hood. [4,5]"),
        ("(see below)<sup>3</sup>", "(see below) [3]"),
        ('granite<sup class="reference"><a href="#n1">[1]</a></sup>', "granite [1]"),
        ('granite<a href="#n2"><sup>2</sup></a>', "granite [2]"),
        ('granite<a href="#n2">2</a> and', "granite [2] and"),
        ('granite<a epub:type="noteref" href="notes.xhtml">2</a>', "granite [2]"),
        ('see <a href="#s2">2</a> and (<a href="#s3">3</a>)', "see 2 and (3)"),
        ('bold<span style="vertical-align:super;font-size:8pt">7</span>', "bold [7]"),
        ("on the 1<sup>st</sup> and XIX<sup>e</sup>", "on the 1st and XIXe"),
        ("M<sup>lle</sup> Durand, Acme<sup>TM</sup>", "Mlle Durand, Acme™"),
        ("H<sub>2</sub>O, CO<sub>2</sub>, (NH<sub>4</sub>)<sub>2</sub>", "H2O, CO2, (NH4)2"),
        ("SO<sub>4</sub><sup>2&minus;</sup>, Na<sup>+</sup>", "SO4^2-, Na+"),
        ("x<sub>i</sub>, a<sub>n+1</sub>, x<sub>1</sub><sup>2</sup>", "x_i, a_(n+1), x_1^2"),
        ("PM<sub>2.5</sub>, log<sub>10</sub> x", "PM2.5, log_10 x"),
        ("6<sup>1</sup>/<sub>2</sub> metres, <sup>3</sup>/<sub>4</sub> cup", "6 1/2 metres, 3/4 cup"),
        ("1<sup>3</sup>&frasl;<sub>8</sub> inch, 2½ feet", "1 3/8 inch, 2½ feet"),
        ("claim<sup>[citation needed]</sup>", "claim [citation needed]"),
        ("the <sup>14</sup>C date", "the ^14C date"),
        ("<p><sup>1</sup>Weighed dry.</p>", "[1] Weighed dry."),
    ],
)
def test_raised_and_lowered_figures_make_no_other_number(html: str, expected: str) -> None:
    assert text(html) == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("He said <q>never <q>again</q></q>.", "He said “never ‘again’”."),
        ("The rent is <del>450</del> <ins>480</ins> pounds.", "The rent is [struck out: 450] 480 pounds."),
        ("<del><p>gone</p><p>too</p></del><p>stays</p>", "[struck out: gone\n\ntoo]\n\nstays"),
        ('<span style="text-decoration: line-through">450</span> <s></s>480', "[struck out: 450] 480"),
        (
            '<abbr title="parts per million">ppm</abbr>, <abbr title="parts per million">ppm</abbr>',
            "ppm (parts per million), ppm",
        ),
        ("<details><summary>Fees</summary><p>ten pounds</p></details>", "Fees\n\nten pounds"),
        ("super<wbr>cali, micro&shy;scope, 1990&#150;1995", "supercali, microscope, 1990–1995"),
        (
            '<figure><img src=a.png alt="A chart of rents"><figcaption>Figure 2</figcaption></figure>',
            "[image: A chart of rents]\nFigure 2",
        ),
        ('<img alt="scan01.png"><img alt=""> text', "text"),
        ('old <span style="display: none">secret</span><template>mould</template>new', "old new"),
        ('Name: <input value="Jane Doe"><input type=hidden value=k>', "Name: Jane Doe"),
        ("<select><option>red<option selected>blue</select>", "blue"),
        ("<ruby>東京<rt>とうきょう</rt></ruby>に", "東京に"),
        ("<svg><title>icon</title><text>Axis of years</text></svg>", "Axis of years"),
    ],
)
def test_marks_and_stand_ins(html: str, expected: str) -> None:
    assert text(html) == expected


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (
            "<semantics><mrow><mi>E</mi><mo>=</mo><mi>m</mi><msup><mi>c</mi><mn>2</mn></msup></mrow>"
            '<annotation encoding="application/x-tex">E=mc^{2}</annotation></semantics>',
            "E = mc^2",
        ),
        ("<mfrac><mn>1</mn><mn>2</mn></mfrac>", "1/2"),
        ("<mn>3</mn><mfrac><mn>1</mn><mn>2</mn></mfrac>", "3 1/2"),
        ("<mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mi>c</mi></mfrac>", "(a + b)/c"),
        ("<msqrt><mi>x</mi><mo>−</mo><mn>1</mn></msqrt>", "√(x - 1)"),
        ("<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>", "x_i^2"),
        ("<mi>x</mi><mo>=</mo><mo>−</mo><mn>5</mn>", "x = -5"),
    ],
)
def test_a_formula_stands_once_and_in_one_line(formula: str, expected: str) -> None:
    assert text(f"<p>is <math>{formula}</math> here</p>") == f"is {expected} here"
    hidden = (
        f'<span class="mwe-math-element"><span style="display:none"><math>{formula}</math></span><img alt="tex"></span>'
    )
    assert text(f"<p>is {hidden} here</p>") == f"is {expected} here"


def test_each_cell_stands_in_its_column() -> None:
    heads = "<thead><tr><th rowspan=2>Pier<th rowspan=2>Size<th colspan=2>Pounds<tr><th>winter<th>summer</thead>"
    rows = "<tr><th rowspan=2>North<td>small<td>12<td>18<tr><td>large<td>21<td>30<tr><td>South<td><td colspan=2>shut"
    assert text(f"<table>{heads}{rows}</table>").split("\n") == [
        "Pier | Size | Pounds winter | Pounds summer",
        "North | small | 12 | 18",
        "North | large | 21 | 30",
        "South | | shut | shut",
    ]


def test_what_spans_a_table_stands_alone() -> None:
    html = (
        "<table><tr><th colspan=3>Rents<tr><td><th>winter<th>summer<tr><th>small<td>1<td>2<tr><td colspan=3>South"
        "<tr><th>large<td>3<td>4</table>"
    )
    assert text(html).split("\n") == ["Rents", "| winter | summer", "small | 1 | 2", "South", "large | 3 | 4"]


def test_a_list_in_a_cell_of_a_table_with_headings() -> None:
    html = "<table><tr><th>Option<th>Means</tr><tr><td>-a<td><ul><li>all<li>hidden</ul></table>"
    assert text(html) == "Option | Means\n-a | all; hidden"


def test_merged_cells_of_a_hostile_table_end() -> None:
    html = "<table><tr><td rowspan=60000 colspan=1000>" + "word " * 400 + "<tr><td>x" * 5000 + "</table>"
    assert len(text(html)) < 3_000_000


def test_deep_formulas_end() -> None:
    assert "x" in text("<math>" + "<msup><mi>y</mi>" * 3000 + "<mi>x</mi>" + "</msup>" * 3000 + "</math>")


def test_xhtml_is_read_by_the_rules_of_xml() -> None:
    page = (
        '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.1//EN" "x.dtd">'
        '<h:html xmlns:h="http://www.w3.org/1999/xhtml"><h:head><h:title/></h:head><h:body><h:p>One &mdash; two</h:p>'
        '<h:a id="x"/><h:p>three<h:sup>2</h:sup></h:p><h:pre><![CDATA[a < b &nbsp;]]></h:pre></h:body></h:html>'
    )
    assert html_reader.from_xhtml(page).text == "One — two\n\nthree [2]\n\na < b &nbsp;"
    assert html_reader.from_xhtml("<html><body><p>bro<br>ken &amp; fine").text == "bro\nken & fine", "else as HTML"


def test_xhtml_follows_no_entity(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("SECRET")
    page = f'<!DOCTYPE html [<!ENTITY e SYSTEM "{secret.as_uri()}">]><html><body><p>a &e; b</p></body></html>'
    assert "SECRET" not in html_reader.from_xhtml(page).text
    doubling = "".join(f'<!ENTITY a{n} "&a{n - 1};&a{n - 1};">' for n in range(1, 40))
    bomb = f'<!DOCTYPE html [<!ENTITY a0 "ha">{doubling}]><html><body><p>&a39;</p></body></html>'
    assert len(html_reader.from_xhtml(bomb).text) < 100_000


def test_controls_are_the_letters_of_windows() -> None:
    def read(body: str, name: str) -> str:
        return readers.read(SourceFile(name, Path(name)), data=body.encode()).text

    for name in ("x.txt", "x.html", "x.md"):
        begin, end = ("<html><body>", "</body></html>") if name == "x.html" else ("", "")
        assert read(f"{begin}1990\x961995, it\x92s 5 \x80{end}", name) == "1990–1995, it’s 5 €"
    assert clean("wait\x85 what") == "wait… what"
    assert clean("one line\x85another") == "one line\nanother"
    assert clean("a\x81b") == "a\ufffdb", "what has no meaning is not deleted"


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not here")
def test_the_cases() -> None:
    bakeries = text((CASES / "superscripts" / "bakery-dust.html").read_text())
    for right in ("4.7 × 10^6 spores", "covered 38 [2] bakeries", "25 cm^2", "mg m^-3", "6 1/2 metres", "900 m^3"):
        assert right in bakeries
    lockers = text((CASES / "merged-table-cells" / "lockers.html").read_text())
    assert "North pier | large | 21 | 30" in lockers
    assert "Railway quay | medium | 10 | 16" in lockers


def test_a_picture_on_a_page_with_a_formula_keeps_its_words() -> None:
    formula = "<math><mi>x</mi></math>"
    assert html_reader.from_html(f"<p>so {formula} and <img alt='a red pan'></p>").text == "so x and [image: a red pan]"
    assert html_reader.from_html(f"<p><span>{formula}<img alt='x'></span> it is</p>").text == "x it is", (
        "the same formula again"
    )


def test_a_term_and_its_definition_stay_together() -> None:
    assert (
        html_reader.from_html("<dl><dt>pan</dt><dd><p>A flat one.</p></dd></dl><p>End.</p>").text
        == "pan\nA flat one.\n\nEnd."
    )
