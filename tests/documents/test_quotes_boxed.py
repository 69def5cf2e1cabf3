"""Real files: nearly every stretch of a page's text, as quotes are cut, has all of its words boxed."""

from __future__ import annotations

import re
from pathlib import Path

import pypdfium2

from sharedllm_cli.documents import readers
from sharedllm_cli.documents.pdf.beside import Beside
from sharedllm_cli.documents.pdf.mark_boxes import mark_boxes
from sharedllm_cli.documents.pdf.second_opinion import SecondOpinion, quiet
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.errors import DocumentError

WORDS = 70
PAGES = 12
"""So many pages of a document are cut, spread over it."""


def quotes(text: str) -> list[str]:
    """A page's text in stretches of words, as it stands between their first and last."""
    words = list(re.finditer(r"\S+", text))
    return [
        text[some[0].start() : some[-1].end()] for at in range(0, len(words), WORDS) if (some := words[at : at + WORDS])
    ]


def test_quotes_of_real_files_are_boxed(shared_pdfs: Path) -> None:
    asked = whole = words = boxed = files = 0
    for path in sorted(shared_pdfs.glob("*.pdf")):
        try:
            document = readers.read(SourceFile(path.name, path))
        except DocumentError:
            continue
        files += 1
        second = SecondOpinion(path.read_bytes(), path.name, None)
        pages = [page for page in document.pages if document.text[page.start : page.end].strip()]
        with quiet(), pypdfium2.PdfDocument(second.without_hidden() or second.data) as opened:
            beside = Beside(opened)
            for page in pages[:: max(1, len(pages) // PAGES)]:
                for quote in quotes(document.text[page.start : page.end]):
                    named = second.named_on(page.number - 1)
                    marked = mark_boxes(opened[page.number - 1], quote, beside, named)
                    asked, words, boxed = asked + 1, words + marked.words, boxed + marked.boxed
                    whole += marked.boxed == marked.words
    print(f"{files} files: {whole} of {asked} quotes boxed whole, {boxed} of {words} words")
    assert whole >= 0.98 * asked > 0
    assert boxed >= 0.999 * words
