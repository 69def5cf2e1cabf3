"""Load: a long document, a folder of many, many questions through one engine, ten processes at one index.

    python tests/campaigns/load.py --tokens 1000000 --documents 2000 --questions 10000 --processes 10

The model is tiny, random and made here, with a token a byte, so that what is loaded is ours. Prints what was done, and
fails where an answer differs from the one given alone, or where memory has grown by more than 30 MB since the first
tenth of the questions. A question takes less with a short `--document` and little `--evidence`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import psutil  # noqa: E402
from tiny_models import make_byte_tokenizer, make_tiny_model  # noqa: E402

from sharedllm_cli.config import Settings  # noqa: E402
from sharedllm_cli.engine import Engine  # noqa: E402

LINE = "On day {0} the keeper lit lamp {0} at dusk and counted {1} gulls at the rock.\n"
GULLS = [f"How many gulls were counted on day {day}?" for day in range(0, 500, 10)]
GROWTH = 30e6


def told(name: str, begun: float, **facts: Any) -> None:
    """Print what a part did, with its seconds and this process's memory."""
    memory = psutil.Process().memory_info().rss
    print(json.dumps({"part": name, "seconds": round(time.monotonic() - begun, 1), **facts, "rss": memory}), flush=True)


def answered(engine: Engine, library: Any, question: str) -> tuple[str, list[tuple[str, str]]]:
    """The words of an answer, and its sources."""
    *_, answer = engine.ask(library, question)
    return answer.answer, [(source.document, source.quote) for source in answer.sources]


def long_document(engine: Engine, folder: Path, tokens: int) -> None:
    """One document of so many tokens, opened and asked."""
    begun, path = time.monotonic(), folder / "long.txt"
    with path.open("w") as file:
        written = day = 0
        while written < tokens:
            written += file.write(LINE.format(day, day % 97))
            day += 1
    _, sources = answered(engine, engine.open([str(path)]), f"Which lamp was lit on day {day - 3}?")
    assert any(f"lamp {day - 3} " in quote for _, quote in sources), sources
    told("one document", begun, tokens=written)


def many_documents(engine: Engine, folder: Path, count: int) -> None:
    """A folder of so many documents, asked for something in one of them."""
    begun, many = time.monotonic(), folder / "many"
    many.mkdir()
    for number in range(count):
        (many / f"{number:05}.md").write_text(f"# Log {number}\n\n" + LINE.format(number, number * 3) * 3)
    library = engine.open([str(many)])
    assert len(library.documents) == count
    _, sources = answered(engine, library, f"Which lamp was lit on day {count - 7}?")
    assert sources[0][0].endswith(f"{count - 7:05}.md"), sources[:1]
    told("a folder", begun, documents=count)


def asked_of(path: Path) -> list[str]:
    """Fifty questions about words of a document, spread over its vocabulary."""
    words = sorted(set(re.findall(r"[a-z]{6,}", path.read_text(encoding="utf-8"))))
    return [f"What does it say about {word}?" for word in words[:: max(1, len(words) // 50)][:50]]


def many_questions(engine: Engine, settings: Settings, path: Path, asked: list[str], count: int) -> None:
    """So many questions through one engine; each is answered as by an engine that answers it alone."""
    begun, process = time.monotonic(), psutil.Process()
    library, alone = engine.open([str(path)]), {}
    for question in asked:
        single = Engine(settings, home=engine.home)
        alone[question] = answered(single, single.open([str(path)]), question)
    memory, tenth = list[int](), max(1, count // 10)
    for number in range(count):
        question = asked[number % len(asked)]
        found = answered(engine, library, question)
        assert found == alone[question], question
        if (number + 1) % tenth == 0:
            memory.append(process.memory_info().rss)
            told("some of the questions", begun, questions=number + 1)
    different = len({str(answer) for answer in alone.values()})
    told("questions", begun, questions=count, different_answers=different)
    assert max(memory) - memory[0] < GROWTH, memory


def many_processes(home: Path, model: str, path: Path, count: int) -> None:
    """So many processes at one index that none has made yet: the same passages from each, and from one alone."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "sharedllm_cli", "search", str(path), GULLS[3], "--json", "-m", model]
    found = []
    for name, number in (("together", count), ("alone", 1)):
        environment = {**os.environ, "SHAREDLLM_HOME": str(home / name), "PYTHONPATH": str(ROOT)}
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(number)]
        said = [process.communicate()[0] for process in running]
        assert [process.returncode for process in running] == [0] * number
        found += [json.loads(out)["passages"] for out in said]
    assert all(one == found[-1] for one in found)
    told("processes", begun, processes=count)


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("tokens", 1_000_000), ("documents", 2000), ("questions", 10_000), ("processes", 10)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--document", type=Path, help="ask the questions about this text file (default: one made here)")
    parser.add_argument("--evidence", type=int, default=400, help="tokens that the model reads for an answer")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        model = folder / "model"
        make_tiny_model("llama", max_position_embeddings=8192).save_pretrained(model)
        make_byte_tokenizer().save_pretrained(model)
        settings = Settings(
            model=str(model), device="cpu", evidence_tokens=given.evidence, max_new_tokens=6, offline=True
        )
        engine = Engine(settings, home=folder / "home")
        short = folder / "short.txt"
        short.write_text("".join(LINE.format(day, day * 3) for day in range(500)))
        if given.processes:
            many_processes(folder / "homes", str(model), short, given.processes)
        if given.tokens:
            long_document(engine, folder, given.tokens)
        if given.documents:
            many_documents(engine, folder, given.documents)
        if given.questions:
            asked = asked_of(given.document) if given.document else GULLS
            many_questions(engine, settings, given.document or short, asked, given.questions)


if __name__ == "__main__":
    main()
