"""A collection of thousands of documents: a killed `collections add` goes on, an update is short, a question costs
what one about a single document costs.

    python tests/campaigns/thousands.py --data hotpotqa.train.jsonl.xz --documents 5000 --folder FOLDER --out FILE

The documents are paragraphs of training data joined to 1 to 20 pages each: a third PDF, a third Markdown, a third plain
text. Prints a line for each number, and fails where a document is lost or read twice. Needs the model's weights.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

COMMAND = [sys.executable, "-m", "sharedllm_cli"]
NAME = "thousands"
PAGE_CHARACTERS = 1500
MOST_PAGES = 20
QUESTIONS, EACH = 8, 625
"""One document in so many holds the answer to a question, until there are so many questions."""
COLLECTION, SINGLE = "collection", "single"


# -- the documents ---------------------------------------------------------------------------------------------------


def paragraphs(data: Sequence[Path]) -> tuple[list[str], list[tuple[str, str]]]:
    """All paragraphs of some data files, and questions, each with the paragraph that holds its answer."""
    from sharedllm_cli.lab.training.records import read_records
    from sharedllm_cli.progress import Silent

    found: list[str] = []
    asked: list[tuple[str, str]] = []
    for record in (one for path in data for one in read_records(path, skip_bad_lines=False, reporter=Silent())):
        parts = [" ".join(part.split()) for part in record.document.split("\n\n") if len(part) > 80]
        found += parts
        for question in record.questions:
            holding = [part for part in parts if question.answers and question.answers[0] in part]
            if len(holding) == 1:
                asked.append((question.question, holding[0]))
    return found, asked


def pages_of(chance: random.Random, stock: Sequence[str]) -> list[list[str]]:
    """One to twenty pages of paragraphs."""
    pages = []
    for _ in range(chance.randint(1, MOST_PAGES)):
        page: list[str] = []
        while sum(map(len, page)) < PAGE_CHARACTERS:
            page.append(chance.choice(stock))
        pages.append(page)
    return pages


def write(path: Path, title: str, pages: Sequence[Sequence[str]]) -> None:
    """One document in the format that its name says."""
    if path.suffix == ".pdf":
        from reportlab.lib.pagesizes import A4
        from reportlab.lib.styles import getSampleStyleSheet
        from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate

        styles = getSampleStyleSheet()
        story: list[Any] = [Paragraph(title, styles["Title"])]
        for page in pages:
            plain = (part.encode("latin-1", "ignore").decode("latin-1") for part in page)
            story += [Paragraph(one.replace("&", "&amp;").replace("<", "&lt;"), styles["BodyText"]) for one in plain]
            story.append(PageBreak())
        SimpleDocTemplate(str(path), pagesize=A4, title=title, invariant=1).build(story)
        return
    marks = ("# ", "## Part ") if path.suffix == ".md" else ("", "Part ")
    parts = [f"{marks[0]}{title}"]
    for number, page in enumerate(pages, 1):
        parts += [f"{marks[1]}{number}", *page]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def make_documents(data: Sequence[Path], folder: Path, count: int) -> list[tuple[str, Path]]:
    """Write the documents that are not there yet; questions, each with the document that holds its answer.

    Fewer documents are the first of more.
    """
    stock, asked = paragraphs(data)
    chance = random.Random(0)
    chosen = chance.sample(asked, QUESTIONS)
    found = []
    for number in range(count):
        pages = pages_of(chance, stock)
        path = folder / f"{number // 500:02}" / f"{number:05}{('.pdf', '.md', '.txt')[number % 3]}"
        if number % EACH == EACH - 1 and len(found) < QUESTIONS:
            question, holding = chosen[len(found)]
            page = chance.choice(pages)
            page.insert(chance.randrange(len(page) + 1), holding)
            found.append((question, path))
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, f"Volume {number}", pages)
    return found


# -- adding and updating ---------------------------------------------------------------------------------------------


def stored(root: Path) -> dict[str, int]:
    """The stored documents and the inodes of their folders' first files, which a second reading would replace."""
    found = {}
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        files = sorted(path for path in folder.rglob("*.safetensors") if path.is_file()) if folder.is_dir() else []
        if files:
            found[folder.name] = files[0].stat().st_ino
    return found


def run(command: Sequence[str], home: Path) -> tuple[float, float, dict[str, Any]]:
    """Seconds, those of the CPU, and the JSON of a command, which must succeed."""
    started, before = time.monotonic(), os.times()
    done = subprocess.run(
        [*COMMAND, *command, "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SHAREDLLM_HOME": str(home), "SHAREDLLM_OFFLINE": "1"},
    )
    if done.returncode:
        raise SystemExit(f"{command}: exit code {done.returncode}: {done.stderr}")
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - started, used, json.loads(done.stdout)


def killed_and_resumed(documents: Path, home: Path, count: int) -> dict[str, Any]:
    """Add the documents, kill that with -9 in the middle, and add them again."""
    command = ["collections", "add", NAME, str(documents)]
    root = home / "indexes"
    began = time.monotonic()
    running = subprocess.Popen(
        [*COMMAND, *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "SHAREDLLM_HOME": str(home), "SHAREDLLM_OFFLINE": "1"},
    )
    while running.poll() is None and (not root.is_dir() or len(os.listdir(root)) < count // 4):
        time.sleep(0.2)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    first = time.monotonic() - began
    time.sleep(2.0)  # a reader ends when its input does
    before = stored(root)
    seconds, used, told = run(command, home)
    after = stored(root)
    again = [name for name, inode in before.items() if after.get(name) != inode]
    documents_now = told["collections"][0]["documents"]
    assert not again, f"{len(again)} documents were read twice"
    assert documents_now == count, f"{documents_now} of {count} documents"
    return {
        "killed_after_s": round(first, 1),
        "stored_then": len(before),
        "resumed_s": round(seconds, 1),
        "resumed_cpu_s": round(used, 1),
        "documents": documents_now,
        "read_twice": len(again),
    }


# -- questions -------------------------------------------------------------------------------------------------------


def engine_of(home: Path) -> Any:
    from sharedllm_cli.config import Settings
    from sharedllm_cli.engine import Engine
    from sharedllm_cli.progress import Silent

    engine = Engine(Settings(offline=True, max_new_tokens=16), home=home, reporter=Silent())
    engine.load()
    return engine


def seconds_to_first_token(engine: Any, library: Any, question: str) -> tuple[float, float]:
    """Seconds from asking to the first piece of an answer; and those until what it reads is open, of these."""
    started = time.perf_counter()
    pieces: Iterator[Any] = engine.ask(library, question)
    answer = next(pieces)
    first = time.perf_counter() - started
    for piece in pieces:
        answer = piece
    return (answer.timing.first_token_s + answer.timing.read_s or first), answer.timing.read_s


def compare(home: Path, questions: Sequence[tuple[str, Path]], rounds: int) -> dict[str, Any]:
    """The same questions over the collection and over the document that holds the answer, by turns, warm."""
    engine = engine_of(home)
    whole = engine.open([f"@{NAME}"])
    single = [engine.open([str(path)]) for _, path in questions]
    best: dict[str, list[float]] = {COLLECTION: [], SINGLE: []}
    finding = []
    for (question, _), one in zip(questions, single, strict=True):
        taken: dict[str, list[tuple[float, float]]] = {COLLECTION: [], SINGLE: []}
        for turn in range(rounds + 1):  # the first is not counted
            for kind, library in ((COLLECTION, whole), (SINGLE, one)):
                library.read_seconds = 0.0  # opening it is over
                found = seconds_to_first_token(engine, library, question)
                if turn:
                    taken[kind].append(found)
        for kind, found_of in taken.items():
            best[kind].append(min(first for first, _ in found_of))
        finding.append(min(reading for _, reading in taken[COLLECTION]))
        print(f"{best[COLLECTION][-1]:.2f} s and {best[SINGLE][-1]:.2f} s: {question}", flush=True)
    ratios = [a / b for a, b in zip(best[COLLECTION], best[SINGLE], strict=True)]
    return {
        "first_token_s": {kind: round(median(values), 3) for kind, values in best.items()},
        "ratio_of_medians": round(median(best[COLLECTION]) / median(best[SINGLE]), 3),
        "median_ratio": round(median(ratios), 3),
        "finding_and_opening_s": round(median(finding), 3),
    }


def peak_of(kind: str, home: Path, questions: Sequence[tuple[str, Path]]) -> int:
    """The peak of memory of this process, which asks the questions over the collection or over one document each."""
    from sharedllm_cli.memory import peak_bytes

    engine = engine_of(home)
    library = engine.open([f"@{NAME}"]) if kind == COLLECTION else None
    for question, path in questions:
        for _ in engine.ask(library or engine.open([str(path)]), question):
            pass
    return peak_bytes()


def peaks(given: argparse.Namespace) -> dict[str, int]:
    """Peaks of a process for each kind."""
    found = {}
    for kind in (COLLECTION, SINGLE):
        arguments = [str(one) for one in sys.argv[1:]]
        done = subprocess.run(
            [sys.executable, __file__, *arguments, "--peak", kind], capture_output=True, text=True, check=True
        )
        found[kind] = int(done.stdout.split()[-1])
    return found


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, action="append", required=True, help="JSON Lines of training data")
    parser.add_argument("--documents", type=int, default=5000)
    parser.add_argument("--questions", type=int, default=QUESTIONS, help="ask the first so many")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, required=True, help="keeps documents and the home with the indexes")
    parser.add_argument("--models", type=Path, help="a home whose models are used (default: SHAREDLLM_HOME)")
    parser.add_argument("--only", choices=["make", "add", "ask"], help="one step alone")
    parser.add_argument("--peak", choices=[COLLECTION, SINGLE], help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    home = (given.folder / "home").resolve()
    home.mkdir(parents=True, exist_ok=True)
    models = (given.models or Path(os.environ["SHAREDLLM_HOME"])) / "models"
    if not (home / "models").exists():
        (home / "models").symlink_to(models.resolve())
    documents = (given.folder / "documents").resolve()
    questions = make_documents(given.data, documents, given.documents)[: given.questions]
    if given.peak:
        print(peak_of(given.peak, home, questions))
        return
    told: dict[str, Any] = {}
    if given.only in (None, "add"):
        told |= killed_and_resumed(documents, home, given.documents)
        print(told, flush=True)
        updates = [run(["collections", "update", NAME], home)[:2] for _ in range(3)]
        told["update_s"], told["update_cpu_s"] = (round(min(column), 2) for column in zip(*updates, strict=True))
        print(told["update_s"], told["update_cpu_s"], flush=True)
    if given.only in (None, "ask"):
        told["peak_bytes"] = peaks(given)  # first: a process begins with the peak of the one that started it
        told |= compare(home, questions, given.rounds)
    print(json.dumps(told, indent=1))
    if given.out:
        given.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
