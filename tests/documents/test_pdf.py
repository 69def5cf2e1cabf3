"""PDFs come out as text with pages, labels and outline, or as one clear error."""

from __future__ import annotations

import logging
import random
import warnings
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pypdf
import pytest
from pdf_making import image_pdf, make_pdf, rewritten
from pypdf import PdfWriter
from pypdf.generic import ArrayObject, ByteStringObject, DictionaryObject, NameObject, NumberObject, TextStringObject

from sharedllm_cli.documents import quotes, readers, sources
from sharedllm_cli.documents.pages import Document
from sharedllm_cli.documents.pdf import open_pdf
from sharedllm_cli.documents.pdf.second_opinion import quiet
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.errors import DocumentError
from sharedllm_cli.progress import Silent

PROSE = [
    "The heron stood in the shallow water for most of the morning, and nobody on the",
    "bank had the patience to see what it was waiting for, although the fisherman said",
    "that it had been there on the day before as well, and on every day since the flood.",
]


def read(data: bytes, name: str = "made.pdf", **options: object) -> Document:
    return readers.read(SourceFile(name, Path(name)), data=data, **options)  # type: ignore[arg-type]


def test_every_character_knows_its_page() -> None:
    document = read(make_pdf([[f"Only page {number} says {'abc'[number]}{number}."] for number in range(3)]))
    for number in range(3):
        offset = document.text.index(f"says {'abc'[number]}{number}")
        assert document.page_at(offset).number == number + 1
    assert document.pages[0].start == 0
    assert document.pages[-1].end == len(document.text)
    assert document.paged


def test_labels_are_the_files_own() -> None:
    data = rewritten(make_pdf([[f"Page body {place}"] for place in range(6)]), labels=[(0, 2, "/r"), (3, 5, "/D")])
    assert [page.label for page in read(data).pages] == ["i", "ii", "iii", "1", "2", "3"]


def test_without_labels_the_printed_numbers_are_the_labels() -> None:
    feet = [str(number) for number in range(41, 49)]
    document = read(make_pdf([PROSE] * 8, feet=feet))
    assert [page.label for page in document.pages] == feet
    assert "41" not in document.text


def test_no_labels_at_all() -> None:
    assert [page.label for page in read(make_pdf([PROSE, PROSE[:2]])).pages] == [None, None]


def test_outline_with_levels_and_pages() -> None:
    data = rewritten(
        make_pdf([["one"], ["two"], ["three"]]), outline=[("First", 0, False), ("Inner", 1, True), ("Last", 2, False)]
    )
    found = [(entry.title, entry.level, entry.page) for entry in read(data).outline]
    assert found == [("First", 1, 1), ("Inner", 2, 2), ("Last", 1, 3)]


def test_a_damaged_label_or_bookmark_costs_itself_alone() -> None:
    """UTF-16 with half of a surrogate pair, as careless programs cut it."""
    half = ByteStringObject(b"\xfe\xff\xd8\x00\x00A")
    made = rewritten(
        make_pdf([["one"], ["two"], ["three"]]), outline=[("First", 0, False), ("Torn", 1, False), ("Last", 2, False)]
    )
    writer = PdfWriter(clone_from=BytesIO(made))
    numbers = [{"/P": TextStringObject("A")}, {"/P": half}, {"/P": TextStringObject("C")}]
    labels = [
        entry
        for index, label in enumerate(numbers)
        for entry in (NumberObject(index), DictionaryObject({NameObject(key): text for key, text in label.items()}))
    ]
    writer.root_object[NameObject("/PageLabels")] = DictionaryObject({NameObject("/Nums"): ArrayObject(labels)})
    torn = writer.root_object["/Outlines"]["/First"].get_object()["/Next"].get_object()
    assert torn["/Title"] == "Torn"
    torn[NameObject("/Title")] = half
    target = BytesIO()
    writer.write(target)
    document = read(target.getvalue())
    assert document.text.split() == ["one", "two", "three"]
    assert [page.label for page in document.pages] == ["A", None, "C"]
    assert [(entry.title, entry.page) for entry in document.outline] == [("First", 1), ("Last", 3)]


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256"])
def test_a_password_opens_an_encrypted_file(algorithm: str) -> None:
    data = rewritten(make_pdf([["the secret is blue"]]), password="öffne", algorithm=algorithm)
    if algorithm != "AES-256":
        data = rewritten(make_pdf([["the secret is blue"]]), password="open", algorithm=algorithm)
    password = "öffne" if algorithm == "AES-256" else "open"
    assert "the secret is blue" in read(data, password=password).text
    for wrong in (None, "wrong"):
        with pytest.raises(DocumentError) as caught:
            read(data, password=wrong)
        assert caught.value.exit_code == 3
        assert "--password" in (caught.value.hint or "")
        assert ("encrypted" if wrong is None else "password") in caught.value.message


def test_a_password_for_an_open_file_is_passed_over() -> None:
    assert "heron" in read(make_pdf([PROSE]), password="unneeded").text


def test_pages_without_text_are_named_once() -> None:
    reporter = Silent()
    document = read(image_pdf(6, text_on=[1, 6]), reporter=reporter)
    assert document.pages_without_text == (2, 3, 4, 5)
    assert len(document.warnings) == 1
    assert reporter.warnings == list(document.warnings)
    assert "pages 2-5" in document.warnings[0]
    assert "--ocr" in document.warnings[0]


def test_a_blank_page_is_named_without_talk_of_ocr() -> None:
    document = read(make_pdf([PROSE, [], PROSE]))
    assert document.pages_without_text == (2,)
    assert document.warnings == ("made.pdf: no text on page 2",)


def test_nothing_but_images_is_an_error_with_a_way_out() -> None:
    with pytest.raises(DocumentError, match="no text") as caught:
        read(image_pdf(3))
    assert "--ocr" in (caught.value.hint or "")


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotated_pages(rotation: int) -> None:
    assert "heron stood in the shallow water" in read(make_pdf([PROSE], rotation=rotation)).text


def test_columns_are_read_one_after_the_other() -> None:
    left, right = [f"left column line {row}" for row in range(5)], [f"right column line {row}" for row in range(5)]
    text = read(make_pdf([left + right], columns=2)).text
    assert text.index("left column line 4") < text.index("right column line 0")


def test_junk_before_the_header_and_a_cut_end_are_recovered() -> None:
    data = make_pdf([PROSE])
    assert "heron" in read(b"mail header\r\n" + data).text
    assert "heron" in read(data[: data.rindex(b"startxref")]).text


@pytest.mark.parametrize(
    "data", [b"%PDF-1.7\n", b"%PDF-1.4 nonsense %%EOF", b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF"]
)
def test_what_no_library_opens_is_one_clear_error(data: bytes) -> None:
    with pytest.raises(DocumentError, match="damaged") as caught:
        read(data)
    assert caught.value.hint


def test_random_damage_never_raises_anything_else() -> None:
    whole = make_pdf([PROSE, PROSE])
    dice = random.Random(7)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 40)):
            data[dice.randrange(9, len(data))] = dice.randrange(256)
        with suppress(DocumentError):
            assert read(bytes(data)).text.strip()


def test_a_damaged_page_is_named_and_the_rest_read(monkeypatch: pytest.MonkeyPatch) -> None:
    import pypdfium2

    real = open_pdf._page

    def broken(document: pypdfium2.PdfDocument, index: int, *others: object) -> object:
        if index == 1:
            raise pypdfium2.PdfiumError("made to fail")
        return real(document, index, *others)

    monkeypatch.setattr(open_pdf, "_page", broken)
    data = make_pdf([["first page"], ["second page"], ["third page"]])
    # pypdf reads the page that PDFium could not: nothing is lost and nothing is said.
    document = read(data)
    assert "second page" in document.text
    assert document.warnings == ()

    monkeypatch.setattr(open_pdf.SecondOpinion, "page", lambda self, index: None)
    document = read(data)
    assert "third page" in document.text
    assert "second page" not in document.text
    assert any("page 2 could not be read" in warning for warning in document.warnings)


def test_pypdf_reads_alone_what_pdfium_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    import pypdfium2

    def refuse(*_: object, **__: object) -> None:
        raise pypdfium2.PdfiumError("made to fail", err_code=3)

    data = rewritten(make_pdf([PROSE] * 2), labels=[(0, 1, "/r")], outline=[("Start", 0, False), ("In", 1, True)])
    both = read(data)
    monkeypatch.setattr(pypdfium2, "PdfDocument", refuse)
    alone = read(data)
    assert [page.label for page in alone.pages] == ["i", "ii"]
    assert alone.outline == both.outline
    assert alone.text.split() == both.text.split()


def test_pypdf_is_silent(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(DocumentError):
        read(b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 9 0 R>>\nendobj\ntrailer << /Root 1 0 R >>\n%%EOF")
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as heard, quiet():
        logging.getLogger("pypdf._reader").warning("an oddity of the file")
        warnings.warn("another", stacklevel=1)
    assert not [record for record in caplog.records if record.name.startswith("pypdf")]
    assert not heard
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("pypdf").level == logging.NOTSET


def test_progress_counts_pages() -> None:
    class Counting(Silent):
        done = 0

        def task(self, description: str, total: int, unit: str):  # type: ignore[no-untyped-def]
            from contextlib import contextmanager

            assert (total, unit) == (4, "pages")

            @contextmanager
            def work():  # type: ignore[no-untyped-def]
                yield self

            return work()

        def advance(self, amount: int) -> None:
            self.done += amount

    reporter = Counting()
    read(make_pdf([PROSE] * 4), reporter=reporter)
    assert reporter.done == 4


# Real files


def test_real_files_give_text_or_one_clear_error(shared_pdfs: Path) -> None:
    refused = {}
    for source in sources.expand([str(shared_pdfs)]):
        try:
            document = readers.read(source)
        except DocumentError as failure:
            refused[source.name] = failure.message
            continue
        assert document.text.strip()
        assert "".join(document.text[page.start : page.end] for page in document.pages) == document.text
        assert "\ufffe" not in document.text
    assert set(refused) == {"aes-256.pdf", "cardinal.pdf", "invalid.pdf"}
    assert "encrypted" in refused["aes-256.pdf"]
    assert "damaged" in refused["invalid.pdf"]


@pytest.mark.parametrize(
    "name", ["R-intro.pdf", "developers-reference.pdf", "fhs-3.0.pdf", "multi-column.pdf", "dmca.pdf", "refcard-a4.pdf"]
)
def test_quotes_of_real_files_are_found_again(shared_pdfs: Path, name: str) -> None:
    document = readers.read(SourceFile(name, shared_pdfs / name))
    dice = random.Random(name)
    tried = found = passed_wrongly = 0
    for page in document.pages:
        for _ in range(3):
            length = dice.randint(60, 200)
            if page.end - page.start < length:
                continue
            start = dice.randrange(page.start, page.end - length + 1)
            if any(start < end and first < start + length for first, end in document.furniture):
                continue  # a head or foot that is kept once says itself where it stands
            quote = document.text[start : start + length]
            tried += 1
            found += quotes.verify(quote, page.raw)
            place = next(place for place in range(length // 2, length) if quote[place].isalnum())
            wrong = quote[:place] + ("q" if quote[place] != "q" else "z") + quote[place + 1 :]
            passed_wrongly += quotes.verify(wrong, page.raw)
    assert found > 0.99 * tried
    assert passed_wrongly == 0


def test_manuals_read_well(shared_pdfs: Path) -> None:
    manual = readers.read(SourceFile("R-intro.pdf", shared_pdfs / "R-intro.pdf"))
    assert manual.pages[0].label == "T-1"
    assert manual.pages[6].label == "1"
    assert "about 25 packages supplied with R" in manual.text  # broken at a line end in print
    assert "the S and S-Plus environments" in manual.text  # a compound broken at its hyphen
    assert "built into the base R environment" in " ".join(manual.text.split())  # a sentence over a page break
    assert "Chapter 3: Objects, their modes and attributes" not in manual.text
    assert "\n$ mkdir work\n$ cd work\n" in manual.text
    assert "\n> help(solve)\n" in manual.text
    reference = readers.read(SourceFile("developers-reference.pdf", shared_pdfs / "developers-reference.pdf"))
    assert "Debian Developer’s Reference, Release 12.18" not in reference.text
    assert "6 Chapter 2. Applying" not in reference.text


def test_pdfium_and_pypdf_agree_on_labels_and_outline(shared_pdfs: Path) -> None:
    for name in ("R-intro.pdf", "fhs-3.0.pdf"):
        document = readers.read(SourceFile(name, shared_pdfs / name))
        reader = pypdf.PdfReader(shared_pdfs / name)
        assert [page.label for page in document.pages] == reader.page_labels


def test_a_turned_table_keeps_its_rows(shared_pdfs: Path) -> None:
    """The page is turned by 90 degrees, and its text with it."""
    document = readers.read(SourceFile("rotated_page.pdf", shared_pdfs / "rotated_page.pdf"))
    assert "\n2011  2012  2013  2014  2015" in document.text
    assert "\nSocial Security  725  773  820" in document.text
