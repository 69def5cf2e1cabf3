"""The second extraction of some pages of a PDF: by the library that has not read them, for quotes to be held against.

It runs in a process of its own, which ends at a bound of time: pypdf is the slower library, and on a damaged file it
may raise anything or go on for ever. What it has not extracted by then has no second extraction.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from sharedllm_cli.documents.characters import repair
from sharedllm_cli.documents.pages import READING_VERSION

if TYPE_CHECKING:
    from sharedllm_cli.documents.pdf.beside import Looked

SECONDS = 5.0
"""So long is waited for the second extraction of a question's pages; those of docs/log/ take 0.02 s each."""
LONGEST_PAGE = 200_000
"""Characters of a page; a longer one is not kept."""
_PACKAGE = Path(__file__).parents[3]
_RUN = "import sys; sys.path.append(sys.argv[1]); from sharedllm_cli.documents.pdf.witness import answer; answer()"
# Windows' characters in the place of control codes, as old producers map them: they count as what they look like.
_WINDOWS = {code: bytes([code]).decode("cp1252", "ignore") or chr(code) for code in range(0x80, 0xA0) if code != 0x85}

_DOUBLED = re.compile(r"^(?:(.)\n\1(?:\n|\Z))+", re.MULTILINE)
_SURELY_DOUBLED = 4 * 6
"""Characters of a run of six letters and more, each two lines of one."""


def libraries() -> str:
    """The libraries that extract, with their versions, and how a page is read: others may extract otherwise."""
    versions = [f"{name} {metadata.version(name)}" for name in ("pypdf", "pypdfium2")]
    return ", ".join([*versions, f"reading {READING_VERSION}"])


def extract(
    data: bytes, raws: Mapping[int, str], *, password: str | None, seconds: float = SECONDS
) -> dict[int, str | None]:
    """Another library's text of pages, by page number; None for a page that it can't read.

    `raws` are the pages' texts as they were read. Every page is among the result, whatever goes wrong.
    """
    asked = json.dumps({"pages": {str(number): raw for number, raw in raws.items()}, "password": password})
    found: dict[int, str | None] = dict.fromkeys(raws)
    for line in told_by(_RUN, asked, data, seconds):
        with suppress(ValueError):  # the last one, where the process was ended
            number, text = json.loads(line)
            found[number] = text if text and text.strip() and len(text) <= LONGEST_PAGE else None
    return found


def told_by(program: str, asked: str, data: bytes, seconds: float) -> list[bytes]:
    """The lines that a Python program prints, given a line of JSON and a file; it is ended after some seconds.

    Its first argument is the folder of this package. No line where no process can be started.
    """
    command = [sys.executable, "-P", "-c", program, str(_PACKAGE)]
    with suppress(OSError):
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        with child:
            try:
                out, _ = child.communicate(asked.encode("ascii") + b"\n" + data, timeout=seconds)
            except subprocess.TimeoutExpired:
                child.kill()
                out, _ = child.communicate()
            except BaseException:
                child.kill()
                raise
        return out.splitlines()
    return []


def answer() -> None:
    """The other process: what is asked as a line of JSON and the PDF's bytes come in, a line a page goes out."""
    from sharedllm_cli.documents.pdf.second_opinion import SecondOpinion

    asked = json.loads(sys.stdin.buffer.readline())
    data = sys.stdin.buffer.read()
    second = SecondOpinion(data, "", asked["password"])
    for number, raw in asked["pages"].items():
        index = int(number) - 1
        text, around = second.page(index), _around(data, asked["password"], index)
        if text is not None and repair(around.into(text)) == raw:  # this is how the page was read
            first = _first(data, asked["password"], index)
            text = None if first is None else around.into(first)
        elif text is not None and around.items:
            text = around.confirmed(*second.beside(index)).into(text)
        shown = None if text is None else _drawn_once(repair(text).translate(_WINDOWS))
        sys.stdout.write(json.dumps([int(number), shown]) + "\n")
        sys.stdout.flush()


def _drawn_once(text: str) -> str:
    """A page's text without letters that are drawn twice for bold, which pypdf gives as two equal lines of one letter.

    Only where many of them follow each other: two equal figures below each other may be cells of a table.
    """
    if not any(len(run[0]) >= _SURELY_DOUBLED for run in _DOUBLED.finditer(text)):
        return text
    return _DOUBLED.sub(lambda run: run[0].replace("\n", "")[::2] + "\n", text)


def _around(data: bytes, password: str | None, index: int) -> Looked:
    """What lies beside a page's text, as it was read the first time."""
    import pypdfium2

    from sharedllm_cli.documents.pdf.beside import NOTHING, Beside
    from sharedllm_cli.documents.pdf.second_opinion import SecondOpinion

    try:
        with pypdfium2.PdfDocument(data, password=password) as document:
            beside = Beside(document, SecondOpinion(data, "", password).signatures)
            return beside.look(document[index])
    except (pypdfium2.PdfiumError, ValueError, IndexError):
        return NOTHING


def _first(data: bytes, password: str | None, index: int) -> str | None:
    """PDFium's text of a page, None where it fails."""
    import pypdfium2

    try:
        with pypdfium2.PdfDocument(data, password=password) as document:
            return str(document[index].get_textpage().get_text_range())
    except (pypdfium2.PdfiumError, ValueError, IndexError):
        return None
