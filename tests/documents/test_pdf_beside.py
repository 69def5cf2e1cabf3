"""What lies beside a page's text: form fields at their labels, typed words, notes, figures, signatures."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pdf_making import make_pdf
from pypdf import PdfReader, PdfWriter
from pypdf.generic import (
    ArrayObject,
    BooleanObject,
    DictionaryObject,
    FloatObject,
    NameObject,
    NumberObject,
    StreamObject,
    TextStringObject,
)
from reportlab.pdfgen import canvas

from sharedllm_cli.documents import quotes, readers
from sharedllm_cli.documents.pages import Document
from sharedllm_cli.documents.pdf import witness
from sharedllm_cli.documents.pdf.beside import Looked
from sharedllm_cli.documents.pdf.placing import Glyph, Item, place
from sharedllm_cli.documents.sources import SourceFile

BOX = (180, 712, 260, 732)


def read(data: bytes, name: str = "made.pdf") -> Document:
    return readers.read(SourceFile(name, None), data=data)


def form() -> bytes:
    """A filled form: labels on the left, above, behind boxes, in a sentence; a field without any."""
    target = BytesIO()
    sheet = canvas.Canvas(target, pagesize=(595, 842))
    fields = sheet.acroForm
    sheet.setFont("Helvetica", 11)
    sheet.drawString(72, 740, "Name of the tenant:")
    fields.textfield(name="tenant", value="Jane Doe", x=200, y=734, width=200, height=18)
    sheet.drawString(72, 700, "Street")
    sheet.drawString(300, 700, "Town")
    fields.textfield(name="street", value="Mill Lane 4", x=72, y=678, width=200, height=18)
    fields.textfield(name="town", value="Harl", x=300, y=678, width=200, height=18)
    fields.checkbox(name="garage", checked=True, x=72, y=640, size=14)
    sheet.drawString(92, 642, "Garage")
    fields.checkbox(name="pets", checked=False, x=200, y=640, size=14)
    sheet.drawString(220, 642, "Pets")
    sheet.drawString(72, 610, "Rent")
    fields.textfield(name="rent", value="480", x=150, y=604, width=60, height=18)
    fields.textfield(name="currency", value="pounds", x=215, y=604, width=60, height=18)
    sheet.drawString(72, 580, "Furnished: yes")
    fields.radio(name="furnished", value="yes", selected=True, x=150, y=578, size=12)
    sheet.drawString(170, 580, "no")
    fields.radio(name="furnished", value="no", selected=False, x=186, y=578, size=12)
    sheet.drawString(72, 540, "Remarks:")
    fields.textfield(
        name="remarks", value="The cellar is damp.\nThe key is lost.", x=150, y=490, width=300, height=60,
        fieldFlags="multiline",
    )  # fmt: skip
    sheet.drawString(72, 440, "I, ")
    fields.textfield(name="signer", value="Tom Reed", x=86, y=434, width=80, height=16)
    sheet.drawString(170, 440, ", agree to the rules of the house.")
    fields.textfield(name="keys", tooltip="Number of keys", value="three", x=400, y=100, width=80, height=18)
    sheet.drawString(72, 400, "Password:")
    fields.textfield(name="secret", value="sesame", x=200, y=394, width=80, height=18, fieldFlags="password")
    sheet.showPage()
    sheet.save()
    return target.getvalue()


def annotated(data: bytes, annotations: list[dict[str, Any]]) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(BytesIO(data)))
    for made in annotations:
        annotation = DictionaryObject(
            {
                NameObject("/Type"): NameObject("/Annot"),
                NameObject("/Subtype"): NameObject(f"/{made['kind']}"),
                NameObject("/Rect"): ArrayObject([FloatObject(side) for side in made.get("box", BOX)]),
                NameObject("/T"): TextStringObject("Hidden Author"),
                NameObject("/F"): NumberObject(made.get("flags", 4)),
            }
        )
        if "text" in made:
            annotation[NameObject("/Contents")] = TextStringObject(made["text"])
        annotation.update(made.get("more", {}))
        page = writer.pages[0]
        page.setdefault(NameObject("/Annots"), ArrayObject()).append(writer._add_object(annotation))
    target = BytesIO()
    writer.write(target)
    return target.getvalue()


def test_the_values_of_a_form_stand_at_their_labels() -> None:
    text = read(form()).text
    for line in (
        "Name of the tenant: Jane Doe",
        "Street: Mill Lane 4",
        "Town: Harl",
        "[x] Garage [ ] Pets",
        "Rent: 480 pounds",
        "Furnished: yes [x]  no [ ]",
        "Remarks: The cellar is damp.\nThe key is lost.",
        "I, Tom Reed, agree to the rules of the house.",
        "Number of keys: three",
    ):
        assert line in text
    assert "sesame" not in text


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_form_that_is_shown_turned_has_its_values_at_their_labels(degrees: int) -> None:
    writer = PdfWriter(clone_from=PdfReader(BytesIO(form())))
    writer.pages[0].rotate(degrees)
    target = BytesIO()
    writer.write(target)
    text = read(target.getvalue()).text
    for words in ("Name of the tenant: Jane Doe", "Street: Mill Lane 4", "[x] Garage", "Rent: 480 pounds"):
        assert words in text


def test_a_form_drawn_upwards_on_a_turned_page_has_its_values_at_their_labels() -> None:
    target = BytesIO()
    sheet = canvas.Canvas(target, pagesize=(595, 842))
    sheet.setPageRotation(90)
    sheet.saveState()
    sheet.rotate(90)
    sheet.translate(0, -595)
    for down, line in ((500, "Name of the tenant:"), (470, "Town of the tenant:"), (440, "The rent is due in May.")):
        sheet.drawString(72, down, line)
    sheet.restoreState()
    for name, value, up in (("one", "Jane Doe", 82), ("two", "Harl", 112)):
        sheet.acroForm.textfield(name=name, value=value, x=up, y=200, width=18, height=150)
    sheet.showPage()
    sheet.save()
    assert "Name of the tenant: Jane Doe\nTown of the tenant: Harl\n" in read(target.getvalue()).text


def test_a_dynamic_form_is_said_to_be_unreadable(caplog: pytest.LogCaptureFixture) -> None:
    writer = PdfWriter(clone_from=PdfReader(BytesIO(make_pdf([["Please wait for the form to appear."]]))))
    program = StreamObject()
    program.set_data(b'<xdp:xdp xmlns:xdp="http://ns.adobe.com/xdp/"/>')
    form = DictionaryObject({NameObject("/Fields"): ArrayObject(), NameObject("/XFA"): writer._add_object(program)})
    writer._root_object[NameObject("/AcroForm")] = form
    writer._root_object[NameObject("/NeedsRendering")] = BooleanObject(True)
    target = BytesIO()
    writer.write(target)
    assert [warning for warning in read(target.getvalue()).warnings if "XFA" in warning]
    assert not caplog.records


def test_a_form_without_appearances_is_read_by_its_values() -> None:
    writer = PdfWriter(clone_from=PdfReader(BytesIO(form())))
    for reference in writer.pages[0]["/Annots"]:
        reference.get_object().pop("/AP", None)
    target = BytesIO()
    writer.write(target)
    assert "Name of the tenant: Jane Doe" in read(target.getvalue()).text


def test_the_second_reading_confirms_the_values_of_a_form_and_no_others() -> None:
    data = form()
    raw = read(data).pages[0].raw
    text = witness.extract(data, {1: raw}, password=None)[1]
    assert text is not None
    for line in ("Name of the tenant: Jane Doe", "[x] Garage [ ] Pets", "Rent: 480 pounds"):
        assert quotes.verify_by(line, text, raw)
    assert not quotes.verify_by("Name of the tenant: John Doe", text, raw)


def test_what_the_second_reading_does_not_hold_is_left_out() -> None:
    found = [
        Item("Jane Doe", BOX, "value"),
        Item("[note: Too late]", BOX, "end"),
        Item("[x]", BOX, "tick"),
        Item("[ ]", BOX, "tick"),
    ]
    looked = Looked(tuple(found))
    assert looked.confirmed(["jane  doe", "Too late"], 1).items == looked.items
    assert looked.confirmed(["Jane Roe"], 1).items == tuple(found[2:])
    assert looked.confirmed(["Jane Doe"], 2).items == tuple(found[:1])


def test_typed_words_stand_in_place_and_notes_at_the_end_without_their_authors() -> None:
    page = make_pdf([["Minutes of the mill", "Height of the weir:", "The sluice is repaired.", "The end."]])
    text = read(
        annotated(
            page,
            [
                {"kind": "FreeText", "text": "2.4 metres", "box": (180, 762, 260, 776)},
                {"kind": "Text", "text": "Ask Bertha"},
                {"kind": "Highlight", "text": "Too late"},
                {"kind": "Highlight", "text": "The sluice is repaired."},
                {"kind": "Text", "text": "never seen", "flags": 2},
                {"kind": "Text", "text": "Accepted by Ed", "more": {NameObject("/StateModel"): TextStringObject("R")}},
                {"kind": "Popup", "text": "a window"},
            ],
        )
    ).text
    assert text.startswith("Minutes of the mill\nHeight of the weir: 2.4 metres\nThe sluice is repaired.\n")
    assert text.endswith("The end.\n[note: Ask Bertha]\n[note: Too late]")
    assert "Author" not in text


def test_a_page_without_text_of_its_own_shows_its_fields() -> None:
    target = BytesIO()
    sheet = canvas.Canvas(target)
    sheet.acroForm.textfield(
        name="form1[0].OwnerName[0]", tooltip="", value="Ada Pike", x=80, y=700, width=90, height=20
    )
    sheet.showPage()
    sheet.save()
    assert read(target.getvalue()).text == "Owner Name: Ada Pike"


def test_a_signature_says_who_and_when() -> None:
    signed = {
        NameObject("/FT"): NameObject("/Sig"),
        NameObject("/T"): TextStringObject("buyer"),
        NameObject("/V"): DictionaryObject(
            {
                NameObject("/Type"): NameObject("/Sig"),
                NameObject("/Name"): TextStringObject("Ida Crane"),
                NameObject("/M"): TextStringObject("D:20240305101500Z"),
            }
        ),
    }
    page = annotated(
        make_pdf([["Deed of sale", "Signature of the buyer:", "The end."]]),
        [{"kind": "Widget", "box": (220, 760, 320, 780), "more": signed}],
    )
    writer = PdfWriter(clone_from=PdfReader(BytesIO(page)))
    fields = DictionaryObject({NameObject("/Fields"): ArrayObject([writer.pages[0].raw_get("/Annots")[0]])})
    writer._root_object[NameObject("/AcroForm")] = writer._add_object(fields)
    target = BytesIO()
    writer.write(target)
    assert "Signature of the buyer: [signed: Ida Crane, 2024-03-05]" in read(target.getvalue()).text


def test_the_words_of_a_figure_stand_where_it_stands() -> None:
    data = tagged()
    document = read(data)
    assert "The first line.\n[figure: Map of the weir]\nThe last line." in document.text
    second = witness.extract(data, {1: document.pages[0].raw}, password=None)[1]
    assert second is not None
    assert quotes.verify_by("[figure: Map of the weir]", second, document.pages[0].raw)


def tagged() -> bytes:
    """A page of two lines and a figure between them that has an alternative text."""
    writer = PdfWriter(clone_from=PdfReader(BytesIO(make_pdf([["x"]]))))
    page = writer.pages[0]
    stream = (
        b"BT /F1 10 Tf 72 700 Td (The first line.) Tj ET /Figure <</MCID 0>> BDC 72 600 100 50 re f EMC"
        b" BT /F1 10 Tf 72 500 Td (The last line.) Tj ET"
    )
    content = StreamObject()
    content.set_data(stream)
    page[NameObject("/Contents")] = writer._add_object(content)
    page[NameObject("/StructParents")] = NumberObject(0)
    root = DictionaryObject({NameObject("/Type"): NameObject("/StructTreeRoot")})
    root_reference = writer._add_object(root)
    figure = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/StructElem"),
            NameObject("/S"): NameObject("/Figure"),
            NameObject("/P"): root_reference,
            NameObject("/Pg"): page.indirect_reference,
            NameObject("/K"): NumberObject(0),
            NameObject("/Alt"): TextStringObject("Map of the weir"),
        }
    )
    figure_reference = writer._add_object(figure)
    root[NameObject("/K")] = ArrayObject([figure_reference])
    root[NameObject("/ParentTree")] = writer._add_object(
        DictionaryObject({NameObject("/Nums"): ArrayObject([NumberObject(0), ArrayObject([figure_reference])])})
    )
    writer._root_object[NameObject("/StructTreeRoot")] = root_reference
    writer._root_object[NameObject("/MarkInfo")] = DictionaryObject({NameObject("/Marked"): BooleanObject(True)})
    target = BytesIO()
    writer.write(target)
    return target.getvalue()


def test_a_place_is_found_in_lines_of_another_order() -> None:
    drawn = [Glyph(letter, (72 + 6 * place, 700, 78 + 6 * place, 708)) for place, letter in enumerate("Name:")]
    drawn += [Glyph(letter, (72 + 6 * place, 720, 78 + 6 * place, 728)) for place, letter in enumerate("Town:")]
    items = [Item("Harl", (150, 718, 250, 730), "value"), Item("Jo", (150, 698, 250, 710), "value")]
    assert place("Town:\nName:", drawn, items) == "Town: Harl\nName: Jo"
    assert place("Name:\nTown:", drawn, items) == "Name: Jo\nTown: Harl"


def test_the_berth_of_the_form_is_read(shared_cases: Path) -> None:
    path = shared_cases / "form-values" / "berth-application.pdf"
    text = readers.read(SourceFile(path.name, path)).text
    assert "Name of the vessel: Corncrake\n" in text
    assert "Berth requested: B-27\n" in text
    assert "Winter storage wanted: [x] yes" in text


@pytest.fixture
def shared_cases() -> Path:
    folder = Path(__file__).parents[3] / "shared" / "cases"
    if not folder.is_dir():
        pytest.skip("the shared cases are not here")
    return folder
