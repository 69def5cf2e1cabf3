"""Laws of the process that reads documents: what it reads is what is read here, and whatever ends it ends a document.

Hostile files are stood for by a reader that crashes, hangs or takes too much where the test says so: nothing here
would harm other software.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from pdf_making import make_pdf, rewritten
from pypdf import PdfReader, PdfWriter

from sharedllm_cli.documents import process, readers
from sharedllm_cli.documents.readers import Limits, Probe
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.errors import DocumentError, ResourceError
from sharedllm_cli.progress import Silent

QUICK = Limits(seconds=6.0, memory_bytes=1 << 30)
HERE = Path(__file__)


@pytest.fixture(autouse=True)
def no_process_waits() -> Iterator[None]:
    gc.collect()
    readers.rest()
    others[:] = []
    others[:] = children()  # of other tests that opened documents and read none of them
    yield
    gc.collect()
    readers.rest()
    assert children() == []


others: list[psutil.Process] = []


def children() -> list[psutil.Process]:
    found = [one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE and one not in others]
    return [one for one in found if "process_child" in " ".join(one.cmdline())]


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Readers that run a statement before they read a document whose name begins with `bad`."""

    def change(statement: str) -> None:
        before = (
            "import sys; sys.path.append(sys.argv[1])\n"
            "from sharedllm_cli.documents.process_child import serve\n"
            "from sharedllm_cli.documents.readers import Probe\n"
            "import os, signal, time\n"
            "read = Probe.read\n"
            "def faulty(self, reporter=None):\n"
            "    if self.source.name.startswith('bad'):\n"
            f"        {statement}\n"
            "    return read(self, reporter)\n"
            "Probe.read = faulty\n"
            "serve()\n"
        )
        monkeypatch.setattr(process, "_RUN", before)

    return change


def written(folder: Path, name: str, text: str = "# Title\n\nThe dog sleeps at nine.\n") -> SourceFile:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return SourceFile(name, path)


def apart(source: SourceFile, limits: Limits = QUICK, **known: Any) -> Probe:
    return Probe(source, limits=limits, **known)


SAMPLES = {
    "notes.md": b"---\ntitle: Notes\n---\n# One\n\nA \xc3\xa9 b\n\n## Two\n\n* list\n",
    "page.html": b"<html><head><title>T</title></head><body><h1>H</h1><p>words</p></body></html>",
    "long.txt": "Ein Satz mit Umlaut: schön.\n".encode() * 5000,
    "surrogates.html": b"<html><body><h1>a&#xd800;b</h1><p>c &#xdfff; d</p></body></html>",
    "book.rst": b"Title\n=====\n\nText.\n",
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_document_read_apart_is_the_one_read_here(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(SAMPLES[name])
    source = SourceFile(name, tmp_path / name)
    here, there = Silent(), Silent()
    assert apart(source, Limits()).read(there) == Probe(source).read(here)
    assert there.warnings == here.warnings


def test_a_pdf_with_labels_outline_and_attachments_is_the_one_read_here(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf_with_everything())
    source = SourceFile("a.pdf", path)
    probe, other = apart(source, Limits()), Probe(source)
    assert probe.read() == other.read()
    assert probe.attachments == other.attachments != ()
    assert probe.attached() == other.attached()
    assert apart(source, Limits()).attached() == other.attached()


def pdf_with_everything() -> bytes:
    pages = [["The first page has words."], ["So has the second one."]]
    writer = PdfWriter(
        clone_from=PdfReader(BytesIO(rewritten(make_pdf(pages), labels=[(0, 0, "/r")], outline=[("A", 1, False)])))
    )
    writer.add_attachment("inner.txt", b"Words of the inner document.")
    held = BytesIO()
    writer.write(held)
    return held.getvalue()


def test_what_is_opened_first_is_sent_once_and_read_by_the_same_process(tmp_path: Path) -> None:
    probe = apart(written(tmp_path, "notes.md"))
    probe.open()
    (child,) = children()
    assert probe.read().text.startswith("Title")
    assert children() == [child]


def test_one_process_reads_many_documents(tmp_path: Path) -> None:
    names = set()
    for place in range(5):
        assert "dog" in apart(written(tmp_path, f"note-{place}.md")).read().text
        names |= {child.pid for child in children()}
    assert len(names) == 1


def test_short_plain_texts_start_no_process(tmp_path: Path) -> None:
    for name in ("a.txt", "README", "b.text"):
        assert "dog" in apart(written(tmp_path, name)).read().text
    assert children() == []
    assert "dog" in apart(written(tmp_path, "c.txt", "<html><body>dog</body></html>")).read().text
    assert len(children()) == 1


def test_errors_of_the_reader_come_with_their_hint(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4 nothing")
    for act in ("open", "read"):
        with pytest.raises(DocumentError, match=r"a\.pdf is damaged, or not a PDF") as raised:
            getattr(apart(SourceFile("a.pdf", tmp_path / "a.pdf")), act)()
        assert raised.value.hint == "open it in a PDF viewer and save it again"


ENDS = {
    "a crash of a library": ("os.kill(os.getpid(), signal.SIGSEGV)", r"its reader failed \(SIGSEGV\)"),
    "an abort": ("os.abort()", r"its reader failed \(SIGABRT\)"),
    "an exit": ("os._exit(3)", r"its reader failed \(exit code 3\)"),
    "an error": ("raise ArithmeticError('secret words')", r"its reader failed \(ArithmeticError\)"),
    "no end": ("time.sleep(60)", "no end of it within 6 seconds a step"),
    "a loop": ("while True: pass", "no end of it within 6 seconds a step"),
    "memory": ("held = [bytearray(1 << 27) for _ in range(8)]", r"more than 0\.5 GiB of memory"),
    "a killer": ("os.kill(os.getpid(), signal.SIGKILL)", r"more than 0\.5 GiB of memory"),
    "its limit of time": ("os.kill(os.getpid(), signal.SIGXCPU)", "no end of it"),
    "output without an end": (
        "[reporter.warn('x' * 500000) for _ in iter(int, 1)]",
        r"more than 0\.125 GiB of text",
    ),
}


@pytest.mark.skipif(sys.platform == "win32", reason="ends by signals")
@pytest.mark.parametrize("name", ENDS)
def test_whatever_ends_the_reader_is_an_error_of_one_document(
    name: str, faulty: Callable[[str], None], tmp_path: Path
) -> None:
    statement, words = ENDS[name]
    faulty(statement)
    limits = Limits(seconds=6.0, memory_bytes=1 << 29)
    with pytest.raises(DocumentError, match=words) as raised:
        apart(written(tmp_path, "bad.md"), limits).read()
    assert raised.value.exit_code == 3
    assert raised.value.message.startswith("bad.md can't be read: ")
    assert "secret" not in raised.value.message
    assert "dog" in apart(written(tmp_path, "good.md"), limits).read().text


def test_progress_is_a_sign_of_life(faulty: Callable[[str], None], tmp_path: Path) -> None:
    faulty("[(time.sleep(0.2), reporter.note(str(place))) for place in range(10)]")
    assert "dog" in apart(written(tmp_path, "bad.md")).read().text


def test_what_never_ends_in_small_steps_ends_too(
    faulty: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(readers, "WHOLE", 2)
    faulty("[(time.sleep(0.1), reporter.note(str(place))) for place in range(1000)]")
    with pytest.raises(DocumentError, match="no end of it"):
        apart(written(tmp_path, "bad.md")).read()


def test_what_makes_no_sense_is_refused(faulty: Callable[[str], None], tmp_path: Path) -> None:
    from sharedllm_cli.documents.process_frames import packed, unpacked

    document = Probe(written(tmp_path, "notes.md")).read()
    whole = packed(document, ())
    assert unpacked(whole, document.name, document.path, document.content_hash)[0] == document
    for broken in (
        [b"{}", *whole[1:]],
        [whole[0], whole[1][:-1], *whole[2:]],
        [whole[0], whole[1], whole[2] + b"x"],
        [whole[0].replace(b'"pages": [[', b'"pages": [[null, 0, 1, null, null, 0], ['), *whole[1:]],
        [*whole, b"a file that has no name"],
    ):
        with pytest.raises((ValueError, KeyError)):
            unpacked(broken, document.name, document.path, document.content_hash)


def test_progress_and_warnings_arrive_and_a_broken_off_bar_is_closed(
    faulty: Callable[[str], None], tmp_path: Path
) -> None:
    class Drawn(Silent):
        def __init__(self) -> None:
            super().__init__()
            self.steps: list[Any] = []

        @contextmanager
        def task(self, description: str, total: int, unit: str) -> Iterator[Any]:
            self.steps.append((description, total, unit))
            try:
                yield self
                self.steps.append("end")
            except DocumentError:
                self.steps.append("broken off")
                raise

        def advance(self, amount: int) -> None:
            self.steps.append(amount)

    (tmp_path / "a.pdf").write_bytes(make_pdf([["One page."], ["Two pages."]]))
    drawn = Drawn()
    apart(SourceFile("a.pdf", tmp_path / "a.pdf")).read(drawn)
    assert drawn.steps == [("reading a.pdf", 2, "pages"), 1, 1, "end"]
    readers.rest()
    faulty("manager = reporter.task('t', 9, 'pages'); manager.__enter__(); os.abort()")
    drawn = Drawn()
    with pytest.raises(DocumentError):
        apart(written(tmp_path, "bad.md")).read(drawn)
    assert drawn.steps == [("t", 9, "pages"), "broken off"]


def test_the_process_says_what_the_system_limits() -> None:
    held = process.held_by_system(Limits())
    assert held == (["memory", "time on the CPU"] if sys.platform == "linux" else held)


def test_where_no_process_can_be_started_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refused)
    with pytest.raises(ResourceError, match="no process could be started"):
        apart(written(tmp_path, "a.md")).read()


def test_the_password_is_no_argument_of_the_process(tmp_path: Path) -> None:
    probe = apart(written(tmp_path, "notes.md"), password="hunter2-geheim")
    probe.open()
    (child,) = children()
    assert not any("geheim" in word for word in child.cmdline())
    assert not any("geheim" in value for value in child.environ().values())
    probe.read()


PARENT = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs the tests in the background ignores it
from pathlib import Path
from sharedllm_cli.documents import process, readers
from sharedllm_cli.documents.readers import Limits, Probe
from sharedllm_cli.documents.sources import SourceFile
process._RUN = "import sys; sys.path.append(sys.argv[1])\\n" \\
    "from sharedllm_cli.documents.process_child import serve\\n" \\
    "from sharedllm_cli.documents.readers import Probe\\ndef read(self, reporter=None):\\n    while True: pass\\n" \\
    "Probe.read = read\\nserve()\\n"
path = Path(sys.argv[1])
probe = Probe(SourceFile(path.name, path), limits=Limits())
probe.open()
print(probe._reading._opened_by._process.pid, flush=True)
probe.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="ends by signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_its_parent(number: int, tmp_path: Path) -> None:
    source = written(tmp_path, "notes.md")
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[2])}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(source.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    time.sleep(0.3)
    parent.send_signal(number)
    parent.wait(timeout=20)
    parent.stdout.close()
    child.wait(timeout=20)
    assert not child.is_running()
