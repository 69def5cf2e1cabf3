"""Characters of a PDF come out as what they mean, and what has no meaning is counted and said."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pypdfium2
import pytest
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen import canvas
from reportlab.platypus import Paragraph, SimpleDocTemplate

from sharedllm_cli.documents import quotes, readers
from sharedllm_cli.documents.pages import Document
from sharedllm_cli.documents.pdf import page_pieces
from sharedllm_cli.documents.pdf.glyph_names import character_of
from sharedllm_cli.documents.pdf.open_pdf import is_words, surely_words
from sharedllm_cli.documents.pdf.page_text import page_text
from sharedllm_cli.documents.pdf.superscripts import Part, linear
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.errors import DocumentError


def read(data: bytes) -> Document:
    return readers.read(SourceFile("made.pdf", None), data=data)


def by_hand(shown: bytes, *fonts: bytes, more: Sequence[bytes] = (), catalog: bytes = b"", page: bytes = b"") -> bytes:
    """A PDF of one page with this content; fonts are /F1, /F2, …; object 5 is the first of them, `more` follow."""
    names = b" ".join(b"/F%d %d 0 R" % (place, 4 + place) for place in range(1, len(fonts) + 1))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R %s >>" % catalog,
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        b" /Resources << /Font << %s >> %s >> >>" % (names, page),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(shown), shown),
        *fonts,
        *more,
    ]
    data, places = b"%PDF-1.5\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(data))
    return data + b"xref\n0 %d\n" % (len(objects) + 1) + table + end


HELVETICA = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"


def mapped(mapping: bytes) -> tuple[bytes, bytes]:
    """Helvetica with a table of characters, which is object 6."""
    font = HELVETICA.replace(b" >>", b" /ToUnicode 6 0 R >>")
    table = (
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /Codes def /CMapType 2 def\n"
        b"1 begincodespacerange <00> <FF> endcodespacerange\n%s\nendcmap end end" % mapping
    )
    return font, b"<< /Length %d >>\nstream\n%s\nendstream" % (len(table), table)


# Raised and lowered figures

WRITTEN = [
    ("The mean count was 4.7 × 10<super>6</super> spores.", "The mean count was 4.7 × 10^6 spores."),
    ("It held 3 x 10<super>4</super>. The limit is lower.", "It held 3 x 10^4. The limit is lower."),
    ("Filters of 25 cm<super>2</super>, then 900 m<super>3</super> of air", "Filters of 25 cm^2, then 900 m^3 of air"),
    ("The load, 11.2 mg m<super>-3</super>, was found", "The load, 11.2 mg m^-3, was found"),
    ("Two molecules of H<sub>2</sub>O and CO<sub>2</sub> remain", "Two molecules of H2O and CO2 remain"),
    ("The survey covered 38<super>2</super> bakeries in all", "The survey covered 38 [2] bakeries in all"),
    ("The tower of granite<super>2</super> was built", "The tower of granite [2] was built"),
    ("It moves air for an hour.<super>4</super> Then it stops", "It moves air for an hour. [4] Then it stops"),
    ("The ring x<super>2</super> + y<super>2</super> = 25 is small", "The ring x^2 + y^2 = 25 is small"),
    ("A board of 2<super>1</super>/<sub>2</sub> feet is long", "A board of 2 1/2 feet is long"),
    ("The 1<super>st</super> and the 2<super>nd</super> mill", "The 1st and the 2nd mill"),
    ("The value x<sub>i</sub> and v<sub>max</sub> are given", "The value x_i and v_max are given"),
    ("as shown by others<super>12,13</super> before", "as shown by others [12,13] before"),
    ("The cube 5<super>3</super> = 125 is large", "The cube 5^3 = 125 is large"),
    ("The king died in 1683<super>3</super> at sea", "The king died in 1683 [3] at sea"),
]


@pytest.mark.parametrize(("marked", "wanted"), WRITTEN, ids=[wanted for _, wanted in WRITTEN])
def test_raised_figures_keep_their_meaning(marked: str, wanted: str) -> None:
    target = BytesIO()
    SimpleDocTemplate(target, pagesize=A4).build([Paragraph(marked, getSampleStyleSheet()["Normal"])])
    document = read(target.getvalue())
    assert document.text == wanted


def test_a_raised_mark_cuts_no_sentence() -> None:
    marked = (
        "The lighthouse<super>3</super> was built of granite from the quarry of the two brothers at Morne, and the"
        " lamp<super>4</super> came by sea from a foundry in the north, which sent it in eleven boxes<super>5</super>"
        " packed in straw and sealed with the arms of the town, as the book of the harbour tells."
    )
    target = BytesIO()
    SimpleDocTemplate(target, pagesize=A4).build([Paragraph(marked, getSampleStyleSheet()["Normal"])])
    text = read(target.getvalue()).text
    assert "\n" not in text
    assert "The lighthouse [3] was built" in text
    assert "lamp [4] came by sea" in text


def test_the_note_itself_begins_with_its_mark() -> None:
    styles = getSampleStyleSheet()
    target = BytesIO()
    texts = ["The mills<super>1</super> stand still.", "<super>1</super> Two of them burned down."]
    SimpleDocTemplate(target, pagesize=A4).build([Paragraph(text, styles["Normal"]) for text in texts])
    assert read(target.getvalue()).text == "The mills [1] stand still.\n\n[1] Two of them burned down."


@pytest.mark.parametrize("size", [5.5, 7.0, 8.0])
def test_the_mark_of_a_note_may_be_nearly_as_large_as_the_note(size: float) -> None:
    target = BytesIO()
    sheet = canvas.Canvas(target, pagesize=A4)
    sheet.setFont("Helvetica", 11)
    sheet.drawString(60, 700, "The ledger of the mill is lost.")
    for row, note in enumerate(("It was in the museum.", "Quoted by Orde, page 14.")):
        sheet.setFont("Helvetica", size)
        sheet.drawString(60, 83 - 12 * row, str(row + 1))
        sheet.setFont("Helvetica", 8)
        sheet.drawString(67, 80 - 12 * row, note)
    sheet.save()
    found = [line for line in read(target.getvalue()).text.split("\n") if line]
    assert found[1:] == ["[1] It was in the museum.", "[2] Quoted by Orde, page 14."]


def test_a_mark_of_a_note_of_the_page_is_no_power() -> None:
    parts = [Part("It counted 38"), Part("2", 0.4, small=True), Part(".", 0.0)]
    assert linear(parts) == "It counted 38^2."
    assert linear(parts, frozenset({"2"})) == "It counted 38 [2]."


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ("energy is E = mc", "", "energy is E = mc^2"),
        ("energy is E = mc", " at rest", "energy is E = mc^2 at rest"),
        ("it holds E = 1/2 mv", " of energy", "it holds E = 1/2 mv^2 of energy"),
        ("an area of 4πr", " is painted", "an area of 4πr^2 is painted"),
        ("where mc", " = E holds", "where mc^2 = E holds"),
        ("P = UI", " fails", "P = UI^2 fails"),
        ("the members of the EU", " = 27", "the members of the EU [2] = 27"),
        ("the sample (n = 38 men", ") was", "the sample (n = 38 men [2]) was"),
        ("of his/her", " own", "of his/her [2] own"),
        ("paid by the men", " at sea", "paid by the men [2] at sea"),
        ("profit = revenue", " less cost", "profit = revenue [2] less cost"),
    ],
)
def test_a_formula_has_no_mark_of_a_note(before: str, after: str, wanted: str) -> None:
    parts = [
        Part(before),
        Part("2", 0.4, small=True),
        *([Part(after.lstrip(), space=after[0] == " ")] if after else []),
    ]
    assert linear(parts, frozenset({"2"})) == wanted


def test_figures_above_each_other_are_a_fraction() -> None:
    parts = [
        Part("It is 2"),
        Part("1", 0.4, small=True),
        Part("2", -0.2, small=True, over=True),
        Part("feet", space=True),
    ]
    assert linear(parts) == "It is 2 1/2 feet"


# Codes


@pytest.mark.parametrize(
    ("code", "wanted"), [(b"96", "–"), (b"97", "—"), (b"92", "’"), (b"93", "“"), (b"80", "€"), (b"85", "…")]
)
def test_codes_of_windows_are_read_as_what_they_look_like(code: bytes, wanted: str) -> None:
    font, table = mapped(b"2 beginbfrange <20> <7E> <0020> <96> <96> <00%s> endbfrange" % code)
    data = by_hand(b"BT /F1 12 Tf 72 700 Td (built in 1921\x961923 by two) Tj ET", font, more=[table])
    assert read(data).text == f"built in 1921{wanted}1923 by two"


def test_a_space_mapped_to_nothing_keeps_words_apart() -> None:
    font, table = mapped(b"2 beginbfrange <20> <20> <0000> <21> <7E> <0021> endbfrange")
    data = by_hand(b"BT /F1 12 Tf 72 700 Td (late November, and the treasurer) Tj ET", font, more=[table])
    assert read(data).text == "late November, and the treasurer"


def test_a_glyph_of_several_characters_is_no_doubled_letter() -> None:
    font, table = mapped(
        b"1 beginbfrange <20> <7E> <0020> endbfrange 2 beginbfchar <96> <006600660069> <97> <0031002F0032> endbfchar"
    )
    data = by_hand(b"BT /F1 12 Tf 72 700 Td (the o\x96ce is 2\x97 feet) Tj ET", font, more=[table])
    assert read(data).text == "the office is 2 1/2 feet"


def test_letters_drawn_twice_are_read_once() -> None:
    target = BytesIO()
    sheet = canvas.Canvas(target, pagesize=A4)
    sheet.setFont("Helvetica", 12)
    for place, letter in enumerate("Filtration"):
        before = stringWidth("Filtration"[:place], "Helvetica", 12)
        for shift in (0.0, 0.4):
            sheet.drawString(72 + before + shift, 700, letter)
    for shift in (0.0, 0.3):
        sheet.drawString(220 + shift, 700, ">60 ml all")
    sheet.showPage()
    sheet.save()
    assert read(target.getvalue()).text == "Filtration  >60 ml all"


NAMES = ["one", "six", "eight", "three"]
OLD_STYLE = b"[%s]" % b" ".join([b"1", *(f"/{name}oldstyle".encode() for name in NAMES), b"/Gsmall", b"/Rsmall"])
SQUARE = b"<< /Length 39 >>\nstream\n600 0 0 0 600 700 d1 0 0 500 700 re f   \nendstream"


def test_names_of_glyphs_say_what_they_are() -> None:
    glyphs = b" ".join(
        b"/%s 6 0 R" % name for name in (*(f"{name}oldstyle".encode() for name in NAMES), b"Gsmall", b"Rsmall")
    )
    type3 = (
        b"<< /Type /Font /Subtype /Type3 /FontBBox [0 0 600 700] /FontMatrix [0.001 0 0 0.001 0 0] /FirstChar 1"
        b" /LastChar 6 /Widths [600 600 600 600 600 600] /CharProcs << %s >>"
        b" /Encoding << /Type /Encoding /Differences %s >> /Resources << >> >>" % (glyphs, OLD_STYLE)
    )
    shown = b"BT /F1 12 Tf 72 700 Td (Set up in ) Tj /F2 12 Tf <01020304> Tj /F1 12 Tf ( by ) Tj /F2 12 Tf <0506> Tj ET"
    data = by_hand(shown, HELVETICA, type3.replace(b"6 0 R", b"7 0 R"), more=[SQUARE])
    document = read(data)
    assert document.text == "Set up in 1683 by GR"
    assert document.warnings == ()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("a", "a"),
        ("a.sc", "a"),
        ("f_i", "fi"),
        ("uni00E9", "é"),
        ("parenleftBigg", "("),
        ("lscript", "ℓ"),
        ("g12", None),
    ],
)
def test_what_a_name_says(name: str, wanted: str | None) -> None:
    assert character_of(name) == wanted


def nameless(share: float) -> bytes:
    """A page of which a share of the glyphs has names that say nothing."""
    codes = list(range(1, 21))
    names = b" ".join(b"/g%d" % code for code in codes)
    glyphs = b" ".join(b"/g%d 7 0 R" % code for code in codes)
    type3 = (
        b"<< /Type /Font /Subtype /Type3 /FontBBox [0 0 600 700] /FontMatrix [0.001 0 0 0.001 0 0] /FirstChar 1"
        b" /LastChar 20 /Widths [%s] /CharProcs << %s >> /Encoding << /Differences [1 %s] >> /Resources << >> >>"
        % (b"600 " * 20, glyphs, names)
    )
    count = int(share * 100)
    unknown = b"".join(b"%02x" % (1 + place % 20) for place in range(count))
    clear = (b"The lamp is lit at dusk and put out at dawn. " * 3)[: 130 - count]
    shown = b"BT /F1 5 Tf 40 700 Td (%s) Tj /F2 5 Tf <%s> Tj ET" % (clear, unknown)
    return by_hand(shown, HELVETICA, type3, more=[SQUARE])


def test_a_page_that_can_t_be_made_out_is_an_error_with_a_way_out() -> None:
    with pytest.raises(DocumentError, match="can be made out") as caught:
        read(nameless(0.9))
    assert "--ocr" in (caught.value.hint or "")


def test_a_few_glyphs_without_meaning_are_counted() -> None:
    document = read(nameless(0.07))
    assert document.text.count("\ufffd") == 7
    assert document.warnings == ("made.pdf: 7 characters of page 1 can't be made out",)


def test_wrong_letters_are_no_words(shared_pdfs: Path) -> None:
    text = " ".join(read((shared_pdfs / "dmca.pdf").read_bytes()).text[:3000].split())
    assert is_words(text)
    for shift in (1, 3, 11, 13, -29):
        moved = "".join(chr((ord(letter) + shift) % 0x110000) if letter.isalpha() else letter for letter in text)
        assert not is_words(moved)
    assert is_words("7781 4410 (21) 39.50 AB-12 [3]")
    assert is_words("Наука и жизнь народов " * 20)


# The law


def counts(data: bytes) -> tuple[int, int]:
    """Glyphs that a page draws, and those that are in its text or told to be left out."""
    found = page_text(page_pieces.read(pypdfium2.PdfDocument(data)[0].get_textpage()))
    left_out = found.doubled + sum(len(number) for number in found.line_numbers)
    drawn = [word for word in found.text.split() if word != "|"]  # the bars between cells are no glyphs
    return found.glyphs, len("".join(drawn)) + left_out


def test_no_glyph_is_lost() -> None:
    target = BytesIO()
    sheet = canvas.Canvas(target, pagesize=A4)
    for row in range(30):
        sheet.drawString(72, 780 - 14 * row, f"and line {row} of the plea goes on about the mill")
        sheet.drawString(40, 780 - 14 * row, str(row + 1))
    for shift in (0, 0.3):
        sheet.drawString(72 + shift, 300, "Signed twice")
    sheet.translate(300, 200)
    sheet.rotate(45)
    sheet.drawString(0, 0, "COPY")
    sheet.showPage()
    sheet.save()
    glyphs, told = counts(target.getvalue())
    assert glyphs == told


def test_no_glyph_of_real_files_is_lost(shared_pdfs: Path) -> None:
    """Pages without raised figures: what is written for these would be counted with the rest."""
    for name in ("fhs-3.0.pdf", "korean-text-with-tables.pdf", "bank_statements_bank_statement.pdf"):
        glyphs, told = counts((shared_pdfs / name).read_bytes())
        assert glyphs == told


@pytest.mark.parametrize(
    "text", ["KEY INVESTOR INFORMATION", "Checkliste Service", "V\u00fdbava na p\u0159\u00e1n\u00ed"]
)
def test_guessed_letters_that_make_words_are_words(text: str) -> None:
    assert surely_words(text)


@pytest.mark.parametrize("text", ["9ROXPHV DQG SULFHV", "5(&20('$&,\u00cf1", "-/ %,-0 1 23''", "ab", ""])
def test_guessed_letters_that_make_none_or_too_few_are_not(text: str) -> None:
    assert not surely_words(text)


def test_a_guess_of_letters_is_told() -> None:
    letters = sorted(set(b"Thelampislitatduskandputoutatdawn"))
    glyphs = b" ".join(b"/g%d 7 0 R" % code for code in letters)
    names = b" ".join(b"%d /g%d" % (code, code) for code in letters)
    type3 = (
        b"<< /Type /Font /Subtype /Type3 /FontBBox [0 0 600 700] /FontMatrix [0.001 0 0 0.001 0 0] /FirstChar 65"
        b" /LastChar 122 /Widths [%s] /CharProcs << %s >> /Encoding << /Differences [%s] >> /Resources << >> >>"
        % (b"600 " * 58, glyphs, names)
    )
    shown = b"BT /F2 12 Tf 40 700 Td (The) Tj 40 0 Td (lamp) Tj 50 0 Td (is) Tj 40 0 Td (lit) Tj 50 0 Td (dusk) Tj ET"
    data = by_hand(shown, HELVETICA, type3, more=[SQUARE])
    document = read(data)
    assert document.text.split() == ["The", "lamp", "is", "lit", "dusk"]
    assert [warning for warning in document.warnings if "guessed from the codes" in warning]


def test_a_raised_circle_behind_a_number_is_the_sign_of_degrees() -> None:
    assert linear([Part("at −18"), Part("\u25e6", 0.4, small=True), Part("C")]) == "at −18°C"
    assert linear([Part("f"), Part("\u2218", 0.4, small=True), Part("g")]) == "f\u2218g", "of two functions"
    assert quotes.verify("at −18°C", "at −18\u25e6C\n")
