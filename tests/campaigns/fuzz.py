"""Coverage-guided fuzzing of all that reads files which others may have made. Needs atheris (`pip install atheris`).

    python tests/campaigns/fuzz.py markdown --seconds 3600 --out FOLDER

An input is a finding where something else than one of the project's own errors is raised; each kind of finding is kept
once, in FOLDER, and the fuzzing goes on. What takes longer than 20 seconds ends the run (libFuzzer's timeout).
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path

import atheris

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

with atheris.instrument_imports(include=["sharedllm_cli"]):  # what is imported later gives no coverage to follow
    from sharedllm_cli.cli.chat.session import SavedDocument, SavedTurn, Session, decode, encode
    from sharedllm_cli.documents.process_frames import read_frame, unpacked
    from sharedllm_cli.documents.readers import Probe
    from sharedllm_cli.documents.sources import SourceFile
    from sharedllm_cli.errors import SharedLLMError
    from sharedllm_cli.generation.chat_template import rendered
    from sharedllm_cli.index.bundle import BUNDLE, ForeignBundleError, read_bundle
    from sharedllm_cli.index.manifest import MANIFEST, DamagedFileError, read_manifest, sealed
    from sharedllm_cli.lab.training.records import read_records
    from sharedllm_cli.model import adapter_config
    from sharedllm_cli.progress import Silent
    from sharedllm_cli.weights.facts import facts_from_config, read_config
    from sharedllm_cli.weights.gguf_file import GGUFFile


Target = Callable[[bytes], object]
SCRATCH = Path(tempfile.mkdtemp())
EXPECTED = (SharedLLMError, DamagedFileError, ForeignBundleError)


def document(name: str) -> Target:
    """Read the input as a document of this name."""
    return lambda data: Probe(SourceFile(name, None), data=data).read(Silent())


def file(name: str, read: Callable[[Path], object]) -> Target:
    """Write the input to a file and read that."""

    def run(data: bytes) -> object:
        (SCRATCH / name).write_bytes(data)
        return read(SCRATCH / name)

    return run


def resealed(data: bytes) -> object:
    """A manifest whose seal fits whatever it says."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    value.pop("seal", None)
    try:
        whole = sealed(value)
    except (ValueError, RecursionError):
        return None
    (SCRATCH / MANIFEST).write_bytes(whole)
    return read_manifest(SCRATCH)


def frames(data: bytes) -> object:
    """What a reading process may say."""
    stream = io.BytesIO(data)
    try:
        while frame := read_frame(stream, 1 << 20):
            if len(frame.blobs) >= 3:
                unpacked(frame.blobs, "a", None, "0" * 64)
    except (ValueError, TypeError, KeyError, LookupError, OverflowError, AttributeError):
        return None  # what the listening thread and `Reading.read` take for no answer
    return frame


def adapter(data: bytes) -> object:
    """An adapter's configuration."""
    (SCRATCH / "adapter.json").write_bytes(data)
    return adapter_config.read_config(SCRATCH)


def model(data: bytes) -> object:
    """A model's configuration."""
    (SCRATCH / "config.json").write_bytes(data)
    return facts_from_config(read_config(SCRATCH), "a")


def records(path: Path) -> object:
    """Training data."""
    return read_records(path, skip_bad_lines=len(path.read_bytes()) % 2 == 0, reporter=Silent())


def session(data: bytes) -> object:
    """A saved conversation."""
    return decode(data, "a")


def template(data: bytes) -> object:
    """A chat template."""
    variables = {"messages": [{"role": "user", "content": "x"}], "bos_token": "<s>", "add_generation_prompt": True}
    return rendered(data.decode("utf-8", "replace"), variables)


TARGETS: dict[str, Target] = {
    "markdown": document("a.md"),
    "html": document("a.html"),
    "rst": document("a.rst"),
    "text": document("a"),
    "epub": document("a.epub"),
    "pdf": document("a.pdf"),
    "bundle": file(BUNDLE, lambda path: read_bundle(path.parent)),
    "manifest": file(MANIFEST, lambda path: read_manifest(path.parent)),
    "resealed-manifest": resealed,
    "frames": frames,
    "adapter": adapter,
    "model": model,
    "gguf": file("a.gguf", GGUFFile),
    "records": file("a.jsonl", records),
    "session": session,
    "template": template,
}


def seeds(target: str) -> list[bytes]:
    """A few valid inputs to begin with."""
    tests = ROOT / "tests"
    bundle = next(tests.glob("index/readings/reading-6/*/bundle.safetensors")).read_bytes()
    manifest = next(tests.glob("index/readings/reading-1/*/leaves-*/manifest.json")).read_bytes()
    page = b"<html><head><title>T</title></head><body><h1>A</h1><table><tr><td>1<td>2</table><p>x</body></html>"
    book = io.BytesIO()
    with zipfile.ZipFile(book, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr(
            "META-INF/container.xml", '<container><rootfiles><rootfile full-path="a.opf"/></rootfiles></container>'
        )
        archive.writestr(
            "a.opf",
            '<package><manifest><item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>'
            '<spine><itemref idref="a"/></spine></package>',
        )
        archive.writestr("a.xhtml", page.decode())
    held = {
        "markdown": [
            b"---\nt: 1\n---\n# A\n\n* b\n  * c\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```x\ny\n```\n> q\n\n$$x$$\n"
        ],
        "html": [page],
        "rst": [
            b"A\n=\n\n.. note:: x\n\n* b\n\n+---+\n| a |\n+---+\n\n:f: g\n\n`x`_ |s|\n\n.. |s| replace:: y\n.. _x: http://y\n"
        ],
        "text": [
            b"Some words.\n\nMore\x0cwords 12\n",
            b"From: a@b\nSubject: x\nMessage-ID: <y>\n\nText\n",
            "Ä \u200f".encode("utf-16"),
        ],
        "epub": [book.getvalue()],
        "pdf": [pdf()],
        "bundle": [bundle],
        "manifest": [manifest],
        "resealed-manifest": [manifest],
        "frames": [b'{"warn": "x", "blobs": []}\n{"done": "read", "blobs": [2, 1, 1]}\n{}xx'],
        "adapter": [(ROOT / "sharedllm_cli").joinpath(*found).read_bytes() for found in shipped()],
        "model": [
            b'{"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2,'
            b' "intermediate_size": 128, "vocab_size": 300, "max_position_embeddings": 512, "rope_theta": 10000.0}'
        ],
        "gguf": [b"GGUF\x03\0\0\0" + b"\0" * 8 + b"\x01" + b"\0" * 7 + b"\x01\0\0\0\0\0\0\0a\x04\0\0\0\x07\0\0\0"],
        "records": [
            b'{"doc_id": "a", "document": "the words", "qas": [{"id": "1", "question": "q", "answers": ["words"]}]}\n'
        ],
        "session": [
            encode(
                Session([SavedDocument("a.md", "/a.md", "0" * 64)], [SavedTurn("q", "a")], {"seed": 1}, "1-2", "", "s")
            )
        ],
        "template": [
            b"{% for m in messages %}{{ m['role'] ~ m.content | trim }}{% endfor %}"
            b"{% macro f(x) %}{{ x * 2 }}{% endmacro %}{{ f('a') }}"
        ],
    }
    return held[target]


def shipped() -> list[tuple[str, ...]]:
    """The adapters' configurations in the package."""
    package = ROOT / "sharedllm_cli"
    return [path.relative_to(package).parts for path in package.rglob("adapter.json")]


def pdf() -> bytes:
    """A PDF of one page."""
    from reportlab.pdfgen import canvas

    held = io.BytesIO()
    sheet = canvas.Canvas(held, pageCompression=0)
    sheet.bookmarkPage("a")
    sheet.addOutlineEntry("A", "a")
    sheet.drawString(72, 700, "Words of a page.")
    sheet.save()
    return held.getvalue()


def main() -> None:
    """Fuzz one target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    corpus = given.out / "corpus" / given.target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(given.target)):
        TARGETS[given.target](seed)  # raises where the seed is none: all that grows from it would be refused at once
        (corpus / f"seed-{number}").write_bytes(seed)
    run, found = TARGETS[given.target], set[str]()

    def one_input(data: bytes) -> None:
        try:
            run(data)
        except EXPECTED:
            return
        except Exception as problem:
            last = traceback.extract_tb(problem.__traceback__)[-1]
            kind = f"{type(problem).__name__}-{Path(last.filename).stem}-{last.lineno}"
            if kind not in found:
                found.add(kind)
                (given.out / f"{given.target}-{kind}").write_bytes(data)
                print(f"FINDING {given.target} {kind}: {str(problem)[:200]!r}", flush=True)

    arguments = [sys.argv[0], f"-max_total_time={given.seconds}", "-timeout=20", "-rss_limit_mb=4096", "-max_len=16384"]
    atheris.Setup([*arguments, f"-artifact_prefix={given.out}/", str(corpus)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
