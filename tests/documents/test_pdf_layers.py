"""Text of layers that are off as a PDF is opened is not read; all other text is."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from test_pdf_meanings import HELVETICA, by_hand, read

from sharedllm_cli.documents.pdf.layers import names_layers

OLD, NEW = "395 pounds a day", "480 pounds a day"
GROUPS = [b"<< /Type /OCG /Name (Prices) >>", b"<< /Type /OCG /Name (Prices) >>"]  # objects 6 and 7, of one name
TWO_LAYERS = (
    b"BT /F1 12 Tf 72 720 Td (Hire of an excavator) Tj ET"
    b" /OC /Old BDC BT /F1 12 Tf 72 700 Td (395 pounds a day) Tj ET EMC"
    b" /OC /New BDC BT /F1 12 Tf 72 680 Td (480 pounds a day) Tj ET EMC"
)
PROPERTIES = b"/Properties << /Old 6 0 R /New 7 0 R >>"


def layered(
    default: bytes, *, shown: bytes = TWO_LAYERS, page: bytes = PROPERTIES, more: tuple[bytes, ...] = ()
) -> bytes:
    catalog = b"/OCProperties << /OCGs [6 0 R 7 0 R] /D << %s >> >>" % default
    return by_hand(shown, HELVETICA, more=[*GROUPS, *more], catalog=catalog, page=page)


@pytest.mark.parametrize(
    ("default", "hidden", "read_all"),
    [
        (b"/OFF [6 0 R]", OLD, False),
        (b"/OFF [7 0 R]", NEW, False),
        (b"/BaseState /OFF /ON [7 0 R]", OLD, False),
        (b"/ON [6 0 R 7 0 R]", "", True),
        (b"", "", True),
    ],
)
def test_layers_are_shown_as_a_viewer_shows_them(default: bytes, hidden: str, read_all: bool) -> None:
    text = read(layered(default)).text
    assert text.startswith("Hire of an excavator")
    assert (OLD in text, NEW in text) == (hidden != OLD, hidden != NEW)
    assert read_all == (OLD in text and NEW in text)


@pytest.mark.parametrize(
    ("membership", "shown"),
    [
        (b"/OCGs 6 0 R", False),
        (b"/OCGs [6 0 R 7 0 R]", True),
        (b"/OCGs [6 0 R 7 0 R] /P /AllOn", False),
        (b"/OCGs [6 0 R 7 0 R] /P /AnyOff", True),
        (b"/OCGs [6 0 R 7 0 R] /P /AllOff", False),
        (b"/VE [/Not 6 0 R]", True),
        (b"/VE [/And 6 0 R 7 0 R]", False),
        (b"/VE [/Or 6 0 R [/Not 7 0 R]]", False),
    ],
)
def test_memberships_of_layers(membership: bytes, shown: bool) -> None:
    data = layered(
        b"/OFF [6 0 R]",
        shown=b"BT /F1 12 Tf 72 720 Td (Always) Tj ET /OC /M BDC BT /F1 12 Tf 72 700 Td (sometimes) Tj ET EMC",
        page=b"/Properties << /M 8 0 R >>",
        more=(b"<< /Type /OCMD %s >>" % membership,),
    )
    assert ("sometimes" in read(data).text) == shown


def test_a_form_in_a_hidden_layer_and_a_hidden_part_of_a_form() -> None:
    inner = (
        b"BT /F1 12 Tf 72 680 Td (in the form) Tj ET /OC /Old BDC BT /F1 12 Tf 72 660 Td (in the hidden part) Tj ET EMC"
    )
    form = (
        b"<< /Type /XObject /Subtype /Form /BBox [0 0 595 842] /Length %d /Resources << /Font << /F1 5 0 R >>"
        b" /Properties << /Old 6 0 R >> >> %s >>\nstream\n%s\nendstream"
    )
    data = layered(
        b"/OFF [6 0 R]",
        shown=b"BT /F1 12 Tf 72 720 Td (on the page) Tj ET /X1 Do /X2 Do",
        page=b"/XObject << /X1 8 0 R /X2 9 0 R >>",
        more=(form % (len(inner), b"", inner), form % (len(inner), b"/OC 6 0 R", inner)),
    )
    assert " ".join(read(data).text.split()) == "on the page in the form"


def test_a_layer_named_by_nothing_hides_nothing() -> None:
    data = layered(b"/OFF [99 0 R]", page=b"/Properties << >>")
    assert OLD in read(data).text


def test_text_under_a_scan_is_read(shared_pdfs: Path) -> None:
    """It is drawn invisibly, by the program that recognised it."""
    assert "accepting" in read((shared_pdfs / "pdf-with-ocr-text.pdf").read_bytes()).text
    shown = b"BT /F1 12 Tf 3 Tr 72 720 Td (recognised words) Tj ET"
    assert read(by_hand(shown, HELVETICA)).text == "recognised words"


@pytest.mark.parametrize(
    ("dictionary", "content", "named"),
    [
        (b"/Type /ObjStm /Filter /FlateDecode", zlib.compress(b"<< /OCProperties 4 0 R >>"), True),
        (b"/Type /ObjStm /Filter /FlateDecode", zlib.compress(b"x" * 2_000_000 + b"/OCProperties"), True),
        (b"/Type /ObjStm /Filter /FlateDecode", zlib.compress(b"<< /Pages 4 0 R >>"), False),
        (b"/Type /ObjStm /Filter /LZWDecode", b"no Flate", None),
        (b"/DecodeParms << /Predictor 12 >> /Type /ObjStm", zlib.compress(b"abc"), None),
        (b"/Type /ObjStm /Filter /FlateDecode", zlib.compress(b"abc" * 99)[:-9], None),
    ],
    ids=["named", "far in", "not named", "other filter", "predictor", "cut"],
)
def test_layers_are_looked_for_within_compressed_objects(dictionary: bytes, content: bytes, named: bool | None) -> None:
    data = b"%PDF-1.5\n3 0 obj << " + dictionary + b" >> stream\n" + content
    assert names_layers(data) is named
