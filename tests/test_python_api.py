"""The public names: typed, loaded when used; docs/python.md runs; one engine serves many threads in turn."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import sharedllm_cli
from sharedllm_cli import Answer, AsyncEngine, Engine, Library, Settings, UsageError, user_settings
from sharedllm_cli.engine import Exclusive

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "python.md"
HANDBOOK = ROOT / "docs" / "examples" / "skerrow-light.pdf"
STORY = "The harbour master keeps a ledger. Old Marten lights the northern beacon at dusk. " * 8


@pytest.fixture
def user(model_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user whose environment names a tiny model; returns the folder where the program runs."""
    values = {"MODEL": str(model_folder("llama", max_position_embeddings=8192)), "DEVICE": "cpu", "DTYPE": "float32"}
    for name, value in {**values, "MAX_NEW_TOKENS": "6", "EVIDENCE_TOKENS": "300"}.items():
        monkeypatch.setenv(f"SHAREDLLM_{name}", value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def story(user: Path) -> str:
    (user / "harbour.txt").write_text(STORY)
    return "harbour.txt"


def test_every_public_name_is_where_it_is_said_to_be() -> None:
    names = [name for name in sharedllm_cli.__all__ if name != "__version__"]
    assert sorted(names) == sorted(sharedllm_cli._HOMES)
    for name in names:
        assert getattr(sharedllm_cli, name).__name__ == name
    typed = (
        (ROOT / "sharedllm_cli" / "__init__.py").read_text("utf-8").split("TYPE_CHECKING:")[1].split("__version__")[0]
    )
    assert all(re.search(rf"\b{name}\b", typed) for name in names)
    with pytest.raises(AttributeError, match="no attribute 'Motor'"):
        sharedllm_cli.Motor  # noqa: B018


@pytest.mark.parametrize(
    ("line", "absent"),
    [
        ("import sharedllm_cli", "sharedllm_cli.errors"),
        ("from sharedllm_cli import Answer, Settings, SharedLLMError, user_settings", "torch"),
    ],
)
def test_importing_loads_what_is_used(line: str, absent: str) -> None:
    code = f"import sys\n{line}\nprint({absent!r} in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["False", "False"], done.stderr


def test_the_examples_run(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (user / "handbook.pdf").write_bytes(HANDBOOK.read_bytes())
    (user / "notes").mkdir()
    (user / "notes" / "keeper.txt").write_text(STORY)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 10
    names: dict[str, Any] = {"__name__": "example"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number + 1}", "exec"), names)
    assert isinstance(names["answer"], Answer)
    assert names["answer"].sources[0].document == "handbook.pdf"
    assert [one.name for one in names["library"].documents] == ["handbook.pdf", "keeper.txt"]
    assert {source.page for source in names["second"].sources if source.document == "handbook.pdf"} <= set(range(1, 11))
    assert names["longer"].settings.max_new_tokens == 12
    assert len(names["found"].passages) == 3
    assert [one.question for one in names["answers"]] == names["questions"]
    assert "missing.pdf" in capsys.readouterr().out


def test_an_engine_without_arguments_is_the_commands(user: Path, private_home: Path) -> None:
    (private_home / "config.toml").write_text("max_new_tokens = 99\nseed = 7\n")
    engine = Engine()
    assert engine.home == private_home
    assert engine.settings == user_settings()
    assert (engine.settings.max_new_tokens, engine.settings.seed) == (6, 7), "environment over file"
    assert user_settings(seed=3).seed == 3
    with pytest.raises(UsageError, match="unknown setting 'sead'"):
        user_settings(sead=3)


def test_one_name_is_one_document(story: str) -> None:
    for given in (story, Path(story), [story], [Path(story)]):
        assert [one.name for one in Engine().open(given).documents] == ["harbour.txt"]


def test_what_could_not_be_read_is_among_the_warnings(story: str) -> None:
    answer = Engine().answer([story, "absent.pdf"], "Who lights the beacon?")
    assert any("absent.pdf" in warning for warning in answer.warnings)


def test_threads_get_the_answers_they_would_get_alone(story: str) -> None:
    engine = Engine()
    library = engine.open(story)
    questions = ["Who lights the beacon?", "What does the master keep?", "When is it lit?", "What is northern?"]
    alone = [engine.answer(library, question).answer for question in questions]
    with ThreadPoolExecutor(4) as threads:
        together = [one.answer for one in threads.map(partial(engine.answer, library), questions)]
    assert together == alone
    assert len(set(alone)) > 1


def test_a_stream_is_one_turn(story: str) -> None:
    engine = Engine()
    library = engine.open(story)
    pieces = engine.ask(library, "Who lights the beacon?")
    next(pieces)
    assert engine.search(library, "beacon").passages, "the thread that holds it may go on"
    done: list[int] = []
    other = threading.Thread(target=lambda: done.append(len(engine.search(library, "beacon").passages)))
    other.start()
    other.join(0.2)
    assert not done, "it waits for the answer"
    pieces.close()
    other.join(30)
    assert done[0] > 0
    for piece in (last := engine.ask(library, "Who lights the beacon?")):
        if isinstance(piece, Answer):
            break
    assert engine.search(library, "beacon").passages, "with the answer the turn is over"
    last.close()


def test_a_stream_may_be_continued_in_another_thread() -> None:
    shared = Exclusive()

    def pieces() -> Iterator[int]:
        yield from range(3)

    stream = shared.stream(pieces())  # type: ignore[arg-type]
    assert next(stream) == 0
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(list, stream).result(10) == [1, 2]
    with shared.work(), shared.work():
        pass


def test_an_error_ends_the_turn() -> None:
    shared = Exclusive()

    def broken() -> Iterator[int]:
        yield 1
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        list(shared.stream(broken()))  # type: ignore[arg-type]
    with shared.work():
        pass


def test_asynchronous_answers_are_the_same(story: str) -> None:
    engine = Engine()
    library = engine.open(story)
    expected = engine.answer(library, "Who lights the beacon?").answer

    async def main() -> tuple[list[str], int, str]:
        async with AsyncEngine(engine=engine) as warm:
            both = await asyncio.gather(*(warm.answer(library, "Who lights the beacon?") for _ in range(2)))
            found = await warm.search(library, "beacon")
            pieces = warm.ask(library, "Who lights the beacon?")
            await anext(pieces)
            await pieces.aclose()
            again = await warm.answer(story, "Who lights the beacon?")
            return [one.answer for one in both], len(found.passages), again.answer

    both, passages, again = asyncio.run(main())
    assert both == [expected, expected]
    assert passages > 0
    assert again == expected


def test_cancelling_stops_the_answer(story: str) -> None:
    engine = Engine(Settings(**{**vars(user_settings()), "max_new_tokens": 4000}))
    made: list[Any] = []

    async def main(library: Library) -> Answer:
        async with AsyncEngine(engine=engine) as warm:

            async def long() -> None:
                async for piece in warm.ask(library, "Who lights the beacon?"):
                    made.append(piece)

            task = asyncio.create_task(long())
            while len(made) < 2:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            engine.use(user_settings())
            return await warm.answer(library, "What does the master keep?")

    after = asyncio.run(main(engine.open(story)))
    assert not any(isinstance(piece, Answer) for piece in made)
    assert after.question == "What does the master keep?"


def test_a_library_is_indexed_and_refused_where_files_are_needed(story: str) -> None:
    engine = Engine()
    library = engine.open(story)
    outcomes, failures = engine.index(library)
    assert ([one.name for one in outcomes], failures) == (["harbour.txt"], [])
    for wrong in (
        lambda: engine.plan(library),
        lambda: engine.index(library, reindex=True),
        lambda: engine.open(library),
    ):  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="a library is open already") as refused:
            wrong()
        assert refused.value.hint
    for other in (None, 7, [None], [3]):
        with pytest.raises(UsageError, match="documents are a path or a list of paths"):
            engine.plan(other)  # type: ignore[arg-type]
