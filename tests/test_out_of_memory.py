"""Where memory runs out, smaller pieces are tried; where there are none, one line and exit code 6, no traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import make_tiny_model

from sharedllm_cli.answer import Answer
from sharedllm_cli.config import InjectionConfig, Settings, TreeConfig
from sharedllm_cli.engine import Engine
from sharedllm_cli.errors import ResourceError
from sharedllm_cli.index import nodes as index_nodes
from sharedllm_cli.memory import memory_for
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.lower import LowerModel
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.progress import Silent

SHAPE = {"max_position_embeddings": 8192}
CUDA_WORDS = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.65 GiB"


class Noting(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def story(tmp_path: Path) -> str:
    path = tmp_path / "harbour.txt"
    path.write_text("The harbour master keeps a ledger. Old Marten lights the northern beacon at dusk. " * 30)
    return str(path)


@pytest.fixture
def open_adapter(tmp_path: Path) -> str:
    base = make_tiny_model("llama", **SHAPE)
    adapter = Adapter.untrained(base, "tiny", InjectionConfig("merged", 2), TreeConfig(64, 3, (16, 8, 4)))
    adapter.open_gates(1.0)
    adapter.save(tmp_path / "open", trained={"objective": "none: gates opened by a test"})
    return str(tmp_path / "open")


@pytest.fixture
def engine(model_folder: Callable[..., Path], private_home: Path, open_adapter: str) -> Engine:
    settings = Settings(
        model=str(model_folder("llama", **SHAPE)),
        adapter=open_adapter,
        device="cpu",
        evidence_tokens=100,
        max_new_tokens=4,
    )
    return Engine(settings, home=private_home, reporter=Noting())


def ask(engine: Engine, story: str) -> Answer:
    *_, answer = engine.ask(engine.open([story]), "Who lights the beacon?")
    assert isinstance(answer, Answer)
    return answer


def notes(engine: Engine) -> list[str]:
    return engine.reporter._reporter.notes  # type: ignore[attr-defined, no-any-return]


def failing(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, fails: Callable[..., bool]) -> list[bool]:
    """Let a function run out of memory, as CUDA says it, whenever `fails` says so of its arguments."""
    true, tried = getattr(owner, name), []

    def tries(*arguments: Any, **options: Any) -> Any:
        tried.append(fails(*arguments, **options))
        if tried[-1]:
            raise torch.OutOfMemoryError(CUDA_WORDS)
        return true(*arguments, **options)

    monkeypatch.setattr(owner, name, tries)
    return tried


def refused(engine: Engine, story: str, words: str) -> None:
    with pytest.raises(ResourceError, match=words) as caught:
        ask(engine, story)
    assert caught.value.exit_code == 6
    assert caught.value.hint
    assert "CUDA" not in caught.value.message
    assert "\n" not in caught.value.message


def test_a_running_text_too_long_for_one_piece_is_read_in_smaller_ones(
    engine: Engine, story: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ask(engine, story).answer
    tried = failing(monkeypatch, UpperModel, "decode_step", lambda _, tokens, *__: len(tokens) > 100)
    assert ask(engine, story).answer == expected
    assert tried[:2] == [True, True]
    assert any("reading" in note and "at a time" in note for note in notes(engine))


@pytest.mark.parametrize("form", ["merged", "additive"])
def test_pieces_of_a_running_text_give_what_the_whole_gives(
    family: str, form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sharedllm_cli.model.lower import CompressedNodes

    model = make_tiny_model(family)
    adapter = Adapter.untrained(model, "tiny", InjectionConfig(form, 3), TreeConfig(16, 2, (4, 2)))
    adapter.open_gates(0.5)
    upper = UpperModel(model, adapter)
    generator = torch.Generator().manual_seed(0)
    keys, values = torch.randn(2, 3, 2, 9, 8, generator=generator)
    context = upper.context(CompressedNodes(keys, values, torch.arange(9) // 3), 3)
    tokens = torch.arange(70)
    whole, cache = upper.prefill(tokens, context)
    failing(monkeypatch, upper, "decode_step", lambda tokens, *_: len(tokens) > 20)
    pieces, again = upper.prefill(tokens, context)
    torch.testing.assert_close(pieces, whole, atol=1e-5, rtol=1e-5)
    assert again.get_seq_length() == cache.get_seq_length() == 70


def test_a_running_text_that_fits_in_no_piece_is_refused(
    engine: Engine, story: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, UpperModel, "decode_step", lambda *_: True)
    refused(engine, story, "not enough memory to read a prompt of")


def test_running_out_while_answering_is_refused(engine: Engine, story: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, UpperModel, "decode_step", lambda _, tokens, *__: len(tokens) == 1)
    refused(engine, story, "not enough memory to write the answer")


def test_a_tree_that_does_not_fit_is_refused(engine: Engine, story: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, index_nodes._Gathered, "put", lambda *_: True)
    refused(engine, story, "not enough memory to hold the tree of")


def test_scoring_that_does_not_fit_is_refused(engine: Engine, story: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, LowerModel, "attended", lambda *_, **__: True)
    refused(engine, story, "not enough memory to score the leaves")


def test_building_goes_on_with_smaller_batches(engine: Engine, story: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = failing(monkeypatch, LowerModel, "encode", lambda _, tokens, *__: tokens.numel() > 70)
    ask(engine, story)
    assert True in tried
    assert any("continuing with" in note for note in notes(engine))


def test_building_that_fits_in_no_batch_is_refused(engine: Engine, story: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, LowerModel, "encode", lambda *_: True)
    refused(engine, story, "not enough memory to encode")


def test_loading_that_does_not_fit_is_refused(engine: Engine, story: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    failing(monkeypatch, transformers.LlamaForCausalLM, "from_pretrained", lambda *_, **__: True)
    refused(engine, story, "does not fit the memory of cpu")


def test_other_failures_are_not_called_a_lack_of_memory() -> None:
    def steps() -> Iterator[int]:
        with memory_for("do it", "do less"):
            yield 1
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    running = steps()
    next(running)
    with pytest.raises(RuntimeError, match="mat1"):
        next(running)
    with pytest.raises(ResourceError), memory_for("do it", "do less"):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
