"""PDFs made for the tests, so that each holds exactly what its test is about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import BytesIO

from pypdf import PdfReader, PdfWriter
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen import canvas

TOP, BOTTOM, LEFT, LEADING = 780, 60, 72, 14


def make_pdf(
    pages: Sequence[Sequence[str]],
    *,
    heads: Sequence[str] | None = None,
    feet: Sequence[str] | None = None,
    columns: int = 1,
    rotation: int = 0,
) -> bytes:
    """One page for each list of lines, with a line above and one below where given; columns share a page's lines."""
    target = BytesIO()
    sheet = canvas.Canvas(target, pagesize=A4)
    for number, lines in enumerate(pages):
        if rotation:
            sheet.setPageRotation(rotation)
        sheet.setFont("Helvetica", 10)
        if heads and heads[number]:
            sheet.drawString(LEFT, TOP + 2 * LEADING, heads[number])
        share = -(-len(lines) // columns)
        for place, line in enumerate(lines):
            column, row = divmod(place, share)
            sheet.drawString(LEFT + 240 * column, TOP - LEADING * row, line)
        if feet and feet[number]:
            sheet.drawString(LEFT, BOTTOM - 2 * LEADING, feet[number])
        sheet.showPage()
    sheet.save()
    return target.getvalue()


def rewritten(data: bytes, **changes: object) -> bytes:
    """The PDF with page labels (`labels`: style and first page), an outline or a password."""
    writer = PdfWriter(clone_from=PdfReader(BytesIO(data)))
    for start, stop, style in changes.get("labels", ()):  # type: ignore[attr-defined]
        writer.set_page_label(start, stop, style=style)
    parent: object = None
    for title, page, below in changes.get("outline", ()):  # type: ignore[attr-defined]
        item = writer.add_outline_item(title=title, page_number=page, parent=parent if below else None)
        parent = parent if below else item
    if "password" in changes:
        writer.encrypt(str(changes["password"]), algorithm=str(changes.get("algorithm", "AES-256")))
    target = BytesIO()
    writer.write(target)
    return target.getvalue()


def image_pdf(page_count: int = 1, text_on: Iterable[int] = ()) -> bytes:
    """Pages that show an image, and text only where asked (numbers from 1)."""
    from PIL import Image
    from reportlab.lib.utils import ImageReader

    target = BytesIO()
    sheet = canvas.Canvas(target, pagesize=A4)
    picture = ImageReader(Image.new("RGB", (8, 8), "red"))
    texts = set(text_on)
    for number in range(1, page_count + 1):
        sheet.drawImage(picture, 100, 100, 200, 200)
        if number in texts:
            sheet.drawString(LEFT, TOP, f"Words that stand on the page counted as {number}.")
        sheet.showPage()
    sheet.save()
    return target.getvalue()
