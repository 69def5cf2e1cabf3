"""The real engine on a tiny model behind a host: the same answers, from many threads, of documents as they are now."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sharedllm_cli.answer import Answer
from sharedllm_cli.config import Settings
from sharedllm_cli.documents import readers
from sharedllm_cli.engine import Engine
from sharedllm_cli.errors import DocumentError, UsageError
from sharedllm_cli.generation.prompt import Turn
from sharedllm_cli.progress import Silent
from sharedllm_cli.serving.host import Host, ProgressReporter

STORY = (
    "The harbour master keeps a ledger. Old Marten lights the northern beacon at dusk. The key hangs in the chapel. "
)
QUESTION = "Who lights the beacon?"


def last(pieces: Iterator[Any]) -> Answer:
    found = [*pieces][-1]
    assert isinstance(found, Answer)
    return found


def pieces_of(host: Host, documents: list[str], question: str, *, caller: str = "", **more: Any) -> Iterator[Any]:
    return host.run(host.asking(documents, question, **more), caller=caller)


def told(answer: Answer) -> dict[str, Any]:
    """What `--json` says, but for time and memory."""
    found = answer.to_json()
    del found["timing"], found["memory"]
    return found


def own(settings: Settings, home: Path, path: Path, question: str = QUESTION, **more: Any) -> dict[str, Any]:
    """The answer of a process of its own."""
    engine = Engine(settings, home=home, reporter=Silent())
    return told(last(engine.ask(engine.open([str(path)]), question, **more)))


def test_a_host_answers_as_an_engine_of_its_own(
    host: Host, settings: Settings, private_home: Path, story: Path
) -> None:
    own(settings, private_home, story)  # stores the index
    for more in ({}, {"history": [Turn("Who?", "Marten.")]}, {"settings": replace(settings, max_new_tokens=3)}):
        asked = [told(last(pieces_of(host, [str(story)], QUESTION, **more))) for _ in range(3)]
        expected = own(more.pop("settings", settings), private_home, story, **more)
        assert asked == [expected] * 3


def test_a_document_that_changed_is_read_again(host: Host, story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        last(pieces_of(host, [str(story)], QUESTION))
    hashes = []
    for word in ("Joan", "Paul"):  # of the same length, as quickly as can be
        story.write_text(STORY.replace("Marten", word) * 8)
        answer = last(pieces_of(host, [str(story)], QUESTION))
        assert all(word in source.quote for source in answer.sources if "lights" in source.quote)
        hashes.append(answer.index.path)
    assert len(set(hashes)) == 2


def test_documents_stay_open(host: Host, story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr("sharedllm_cli.durable.is_settled", lambda stamp: True)
    for _ in range(2):
        last(pieces_of(host, [str(story)], QUESTION))
    monkeypatch.setattr(Engine, "open", lambda *_, **__: opened.append(1))
    assert last(pieces_of(host, [str(story)], QUESTION)).index.text_hit
    assert opened == []


def test_many_threads_get_each_their_own_answer(host: Host, story: Path, tmp_path: Path) -> None:
    paths = []
    for number in range(3):
        path = tmp_path / f"{number}.txt"
        path.write_text(STORY.replace("Marten", f"Marten{number}") * 4)
        paths.append(path)
    found: dict[int, Answer] = {}

    def ask(number: int) -> None:
        found[number] = last(pieces_of(host, [str(paths[number % 3])], f"{QUESTION} {number}", caller=str(number % 5)))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(found) == list(range(12))
    for number, answer in found.items():
        assert answer.question == f"{QUESTION} {number}"
        assert {source.document for source in answer.sources} == {paths[number % 3].name}


def test_closing_stops_the_reading_of_a_document(host: Host, story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last(pieces_of(host, [str(story)], QUESTION))
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()
    real = readers.Probe.read

    def slow(self: Any, reporter: Any = None) -> Any:
        try:
            with reporter.task("reading", 10, "pages") as task:
                begun.set()
                assert go.wait(10)
                task.advance(1)
            return real(self, reporter)
        finally:
            ended.set()

    monkeypatch.setattr(readers.Probe, "read", slow)
    other = story.with_name("other.txt")
    other.write_text("Another story. " * 40)
    progress: list[tuple[str, int, int, str]] = []
    running = pieces_of(host, [str(other)], QUESTION, reporter=ProgressReporter(lambda *told: progress.append(told)))
    assert begun.wait(10)
    running.close()
    go.set()
    assert ended.wait(10)
    assert list(running) == []
    assert progress[0] == ("reading", 0, 10, "pages")
    assert told(last(pieces_of(host, [str(story)], QUESTION)))["answered"] in (True, False)


def test_errors_and_other_models_are_told(host: Host, settings: Settings, story: Path) -> None:
    with pytest.raises(DocumentError, match="does not exist"):
        list(pieces_of(host, [str(story) + "x"], QUESTION))
    with pytest.raises(UsageError, match="question is empty"):
        list(pieces_of(host, [str(story)], " "))
    with pytest.raises(UsageError, match="can't change --dtype"):
        pieces_of(host, [str(story)], QUESTION, settings=replace(settings, dtype="bfloat16"))
    assert last(pieces_of(host, [str(story)], QUESTION)).question == QUESTION


def test_search_read_and_the_list_need_no_model(settings: Settings, private_home: Path, story: Path) -> None:
    def never(reporter: Any) -> Engine:
        raise AssertionError("the model is not needed")

    host = Host(never, settings=settings, home=private_home)
    found = next(host.run(host.searching([str(story)], "northern beacon", limit=2)))
    assert found.passages
    assert "beacon" in found.passages[0].quote
    assert next(host.run(host.reading(str(story))))["pages"][0]["text"].startswith("The harbour master")
    assert [entry.name for entry in host.documents()] == ["harbour.txt"]
    assert next(host.run(host.removing("harbour.txt"))).name == "harbour.txt"
    assert host.documents() == []
    host.close()


def test_the_index_is_made_as_by_the_command(host: Host, story: Path) -> None:
    outcomes, failures = next(host.run(host.indexing([str(story)])))
    assert [one.name for one in outcomes] == ["harbour.txt"]
    assert failures == []
