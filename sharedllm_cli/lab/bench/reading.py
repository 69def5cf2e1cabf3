"""How well documents are read: `python -m sharedllm_cli.lab.bench.reading --out reading.json`.

Pages of known text, made by the producers that are installed, are read as `ask` reads them and compared word by word:
the share of words in the right order, words lost, words invented, seconds of the processor a page. `--pages FOLDER`
keeps the PDFs and makes only those that it lacks. The table goes to standard output.

`--beside FILE...` reads PDFs of your own instead, beside PDFium's text alone and beside its text with the places of all
characters: milliseconds of the processor a page, and how many times PDFium's text reading takes.

Words are compared without punctuation at their ends. What changes a meaning is not forgiven: `10^6` and `10⁶` are the
same, `106` and `10 6` are not.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from ctypes import cast
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

from sharedllm_cli.documents import readers
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.errors import SharedLLMError, exit_with
from sharedllm_cli.lab.bench.reading_pages import MARK, SHEETS, Truth, truth
from sharedllm_cli.lab.bench.reading_producers import PRODUCERS, Producer

_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_RAISED_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+")
_FRACTION = re.compile(r"(\d?)([¼½¾⅓⅔⅛⅜⅝⅞])")
_LETTER_BY_LETTER = re.compile(r"([\u3040-\u30ff\u3400-\u9fff])")
_GAP = re.compile(r"(?<=[\u3001-\u30ff\u3400-\u9fff])[ \t]+(?=[\u3001-\u30ff\u3400-\u9fff])")
_ENDS = ".,;:!?()[]{}\"'|،؛。、"
Read = Callable[[Path], tuple[str, int]]
"""Reads a PDF: its text and the number of its pages."""


def words(text: str) -> list[str]:
    """The words of a text in one form: `10⁶` is the two words `10 ^6`, `2½` is `2 1/2`, Japanese goes by letters.

    A space between two of these is a word `␣` of its own, for there is none on the page.
    """
    text = _RAISED_RUN.sub(lambda run: "^" + run[0].translate(_RAISED), text)
    text = _FRACTION.sub(lambda found: f"{found[1]} {unicodedata.normalize('NFKC', found[2])}", text)
    text = unicodedata.normalize("NFKC", text).replace("\u00ad", "").replace("⁄", "/")
    text = re.sub("[\u2010-\u2015\u2212]", "-", text).translate({0x2019: "'", 0x2018: "'", 0x201C: '"', 0x201D: '"'})
    text = re.sub(r"\^[{(]?([-+]?\w+)[)}]?", r" ^\1 ", text)
    text = re.sub(r"_\{?(\d+)\}?", r"\1", text)
    text = re.sub(rf"\[({MARK}?\d+)\]", r" \1 ", text)
    text = _LETTER_BY_LETTER.sub(r" \1 ", _GAP.sub(" ␣ ", text))
    found = (word.strip(_ENDS) for word in text.split())
    return [word for word in found if word]


def _forms(word: str) -> tuple[str, ...]:
    """The words of a reading that stand for a word of the truth."""
    return (word[1:], f"^{word[1:]}") if word.startswith(MARK) else (word,)


def in_order(wanted: Sequence[str], found: Iterable[str]) -> int:
    """Length of the longest common subsequence, by bits: bit i is unset once it has grown at word i of `wanted`."""
    places: dict[str, int] = {}
    for number, word in enumerate(wanted):
        for form in _forms(word):
            places[form] = places.get(form, 0) | 1 << number
    every = (1 << len(wanted)) - 1
    row = every
    for word in found:
        met = row & places.get(word, 0)
        row = ((row + met) | (row - met)) & every
    return len(wanted) - row.bit_count()


def _whole(wanted: Sequence[str], found: Sequence[str]) -> int:
    """Words of a note or a head in order at the place where most of them are together."""
    length = len(wanted)
    starts = range(max(1, len(found) - length + 1))
    return max(in_order(wanted, found[start : start + length]) for start in starts)


@dataclass(frozen=True)
class Score:
    """One reading beside the truth, in words."""

    producer: str
    kind: str
    pages: int
    words: int
    in_order: int
    lost: tuple[str, ...]
    invented: tuple[str, ...]
    seconds: float


def compare(wanted: Truth, text: str) -> tuple[int, int, tuple[str, ...], tuple[str, ...]]:
    """Words of the truth, those in the right order, the words lost and the words invented."""
    found = words(text)
    flow, floating = words(wanted.flow), [words(part) for part in wanted.floating]
    right = in_order(flow, found) + sum(_whole(part, found) for part in floating)
    left, lost = Counter(found), []
    total = [*flow, *(word for part in floating for word in part)]
    for word in total:
        form = next((form for form in _forms(word) if left[form]), None)
        if form is None:
            lost.append(word.removeprefix(MARK))
        else:
            left[form] -= 1
    left -= Counter(words(wanted.beside))
    return len(total), right, tuple(lost), tuple(left.elements())


def as_asked(path: Path) -> tuple[str, int]:
    """A document's text as `ask` reads it, and the number of its pages."""
    document = readers.read(SourceFile(path.name, path))
    return document.text, len(document.pages)


def make(folder: Path, producers: Sequence[Producer]) -> list[tuple[Producer, str, Path]]:
    """The PDFs of all sheets in the folder, those that it lacks made."""
    made = []
    for producer in producers:
        for sheet in SHEETS:
            if sheet.kind in producer.lacks:
                continue
            target = folder / f"{producer.name}-{'-'.join(re.findall('[a-z]+', sheet.kind))}.pdf"
            if not target.exists():
                print(f"making {target.name} …", file=sys.stderr)
                producer.make(sheet, target)
            made.append((producer, sheet.kind, target))
    return made


def measure(made: Iterable[tuple[Producer, str, Path]], read: Read, repeats: int = 1) -> list[Score]:
    """Read every PDF and compare it with its sheet; the seconds are the best of the repeats."""
    truths = {sheet.kind: truth(sheet) for sheet in SHEETS}
    scores = []
    for producer, kind, path in made:
        seconds = []
        for _ in range(repeats):
            started = process_time()
            try:
                text, pages = read(path)
            except SharedLLMError:
                text, pages = "", 1
            seconds.append(process_time() - started)
        scores.append(Score(producer.name, kind, pages, *compare(truths[kind], text), min(seconds)))
    return scores


def table(scores: Sequence[Score]) -> list[str]:
    """One row a kind of page, and one of all."""
    kinds = list(dict.fromkeys(score.kind for score in scores))
    groups = [(kind, [score for score in scores if score.kind == kind]) for kind in kinds]
    producers = list(dict.fromkeys(score.producer for score in scores))
    rows = []
    for kind, group in [*groups, ("all", list(scores))]:
        shares = (_share([score for score in group if score.producer == name]) for name in producers)
        rows.append(
            (
                *(kind, _share(group), *shares, str(sum(len(score.lost) for score in group))),
                str(sum(len(score.invented) for score in group)),
                f"{1000 * sum(score.seconds for score in group) / sum(score.pages for score in group):.1f}",
            )
        )
    headings = ("kind of page", "in order", *producers, "lost", "invented", "ms a page")
    return [f"| {' | '.join(row)} |" for row in (headings, ["---"] * len(headings), *rows)]


def _share(scores: Sequence[Score]) -> str:
    total = sum(score.words for score in scores)
    return f"{sum(score.in_order for score in scores) / total:.1%}" if total else "–"


def pdfium_alone(data: bytes, *, boxes: bool) -> int:
    """Ask PDFium for the text of each page, and with `boxes` for the places of its characters; the number of pages."""
    import pypdfium2

    from sharedllm_cli.documents.pdf.pdfium_calls import POINTER, boxes_of

    with pypdfium2.PdfDocument(data) as document:
        for page in document:
            text = page.get_textpage()
            text.get_text_range()
            if boxes:
                boxes_of(POINTER.from_param(cast(text.raw, POINTER).value or 0), text.count_chars())
            text.close()
            page.close()
        return len(document)


def beside_pdfium(paths: Sequence[Path], repeats: int) -> list[str]:
    """A table of milliseconds a page: PDFium's text, with places, and reading; the best of the repeats, in turns."""
    rows, total = [], [0.0] * 4
    for path in paths:
        data = path.read_bytes()
        ways: tuple[Callable[[], object], ...] = (
            partial(pdfium_alone, data, boxes=False),
            partial(pdfium_alone, data, boxes=True),
            partial(as_asked, path),
        )
        best = [float("inf")] * 3
        for _ in range(repeats):
            for place, way in enumerate(ways):
                started = process_time()
                way()
                best[place] = min(best[place], process_time() - started)
        pages = float(pdfium_alone(data, boxes=False))
        total = [before + own for before, own in zip(total, (pages, *best), strict=True)]
        rows.append(_times(path.name, (pages, *best)))
    headings = ("file", "pages", "PDFium's text", "and places", "reading", "times its text", "times text and places")
    return [f"| {' | '.join(row)} |" for row in (headings, ["---"] * len(headings), *rows, _times("all", total))]


def _times(name: str, found: Sequence[float]) -> tuple[str, ...]:
    pages, *seconds = found
    own = (f"{1000 * one / pages:.1f}" for one in seconds)
    return (name, f"{pages:.0f}", *own, *(f"{seconds[-1] / one:.1f}" for one in seconds[:-1]))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sharedllm_cli.lab.bench.reading", description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON with every page's words lost and invented")
    parser.add_argument("--pages", type=Path, help="folder that keeps the PDFs (default: a temporary one)")
    parser.add_argument("--repeats", type=int, default=3, help="readings of each PDF; the fastest counts")
    parser.add_argument("--beside", type=Path, nargs="+", metavar="FILE", help="PDFs to read beside PDFium alone")
    asked = parser.parse_args(arguments)
    if asked.beside:
        print("\n".join(beside_pdfium(asked.beside, asked.repeats)))
        return 0
    present = [producer for producer in PRODUCERS if producer.exists]
    for producer in PRODUCERS:
        if not producer.exists:
            print(f"skipped: {producer.name} ({producer.program} is not installed)", file=sys.stderr)
    with TemporaryDirectory(prefix="sharedllm-reading-") as temporary:
        folder = (asked.pages or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        scores = measure(make(folder, present), as_asked, asked.repeats)
    print("\n".join(table(scores)))
    if asked.out:
        asked.out.write_text(json.dumps([asdict(score) for score in scores], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    exit_with(main)
