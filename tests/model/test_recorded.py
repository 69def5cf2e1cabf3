"""A step at fixed addresses gives what decoding with a growing cache gives; recording it fails softly."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pretend_cuda import CUDA, Copies, on_cuda, pretended_cuda
from test_upper import TREE, opened, random_nodes
from tiny_models import make_tiny_model, tiny_config
from torch._subclasses.fake_tensor import DataDependentOutputException
from transformers import AutoModelForCausalLM

from sharedllm_cli.config import InjectionConfig
from sharedllm_cli.generation.decoding import Sampler, SuppressedSequence
from sharedllm_cli.model import recorded
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.cache import GrowingLayer
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.recorded import FixedStep, recorded_step, why_not_recorded
from sharedllm_cli.model.upper import UpperModel

TOKENS = torch.arange(20, 33)
ROOM = 300  # more than a buffer has to spare


def prefilled(family: str, form: Any = "merged", **changes: Any) -> tuple[UpperModel, Any, torch.Tensor, Any]:
    model = make_tiny_model(family, **changes)
    upper = UpperModel(model, opened(Adapter.untrained(model, "tiny", InjectionConfig(form, 3), TREE)))
    tree = upper.context(random_nodes(model, 3), 3)
    first, cache = upper.prefill(TOKENS, tree)
    return upper, tree, first, cache


def decoded(step: Any, first: torch.Tensor, tokens: int) -> tuple[list[int], torch.Tensor]:
    found, logits = [], [first]
    for _ in range(tokens):
        found.append(int(logits[-1].argmax()))
        logits.append(step(torch.tensor([found[-1]])).clone())
    return found, torch.stack(logits)


@pytest.mark.parametrize("form", ["merged", "additive"])
def test_logits_are_those_of_the_growing_cache(llama_like: str, form: Any) -> None:
    upper, tree, first, cache = prefilled(llama_like, form)
    tokens, expected = decoded(lambda token: upper.decode_step(token, tree, cache), first, 12)
    upper, tree, first, cache = prefilled(llama_like, form)
    step = FixedStep(upper, tree, cache, ROOM)
    assert decoded(step, first, 12)[0] == tokens
    step.rewind()
    torch.testing.assert_close(decoded(step, first, 12)[1], expected, rtol=1e-5, atol=1e-5)


def test_without_a_tree_and_up_to_the_last_place() -> None:
    upper, _, _, _ = prefilled("llama")
    first, cache = upper.prefill(TOKENS, None)
    _, expected = decoded(lambda token: upper.decode_step(token, None, cache), first, ROOM)
    first, cache = upper.prefill(TOKENS, None)
    _, logits = decoded(FixedStep(upper, None, cache, ROOM), first, ROOM)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """CUDA's streams and graphs on a processor: a recording is the step, and replaying it calls "replay".

    That is given the step and the logits that were recorded: a graph writes where it wrote when it was recorded. "log"
    holds on which device and stream was recorded, and what was settled after a failure.
    """
    found: dict[str, Any] = {"log": []}
    log = found["log"]
    original = recorded._Recorded.__init__

    def keep(self: Any, step: FixedStep, graph: Any, logits: torch.Tensor) -> None:
        found.update(step=step, logits=logits)
        original(self, step, graph, logits)

    def record(graph: Any, stream: Any) -> Any:
        log.append(f"recorded on {stream.name}")
        if "recording" in found:
            found["recording"]()
        return nullcontext()

    @contextmanager
    def device(where: torch.device) -> Any:
        log.append(f"device {where}")
        yield

    current, side = (SimpleNamespace(name=name, wait_stream=lambda other: None) for name in ("current", "side"))
    graph = SimpleNamespace(replay=lambda: found["replay"](found["step"], found["logits"]))
    monkeypatch.setattr(recorded._Recorded, "__init__", keep)
    monkeypatch.setattr(recorded, "why_not_recorded", lambda upper, cache: "")
    for name, value in {
        "device": device,
        "Stream": lambda device: side,
        "current_stream": lambda device: current,
        "stream": lambda stream: nullcontext(),
        "CUDAGraph": lambda: graph,
        "graph": record,
        "synchronize": lambda device: log.append("synchronized"),
        "set_stream": lambda stream: log.append(f"back on {stream.name}"),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return found


def try_recording(upper: UpperModel, tree: Any, cache: Any, first: torch.Tensor) -> tuple[Any, str]:
    return recorded_step(upper, tree, cache, first.argmax()[None], ROOM)


def test_a_recording_begins_where_the_cache_ends(graphs: dict[str, Any]) -> None:
    upper, tree, first, cache = prefilled("llama")
    _, expected = decoded(lambda token: upper.decode_step(token, tree, cache), first, 5)
    upper, tree, first, cache = prefilled("llama")
    graphs["replay"] = lambda step, logits: logits.copy_(step.run())
    with torch.inference_mode():
        step, why = try_recording(upper, tree, cache, first)
        assert (step is not None, why) == (True, "")
        _, logits = decoded(step, first, 5)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    assert graphs["log"] == ["device cpu", "recorded on side"]


def _raise(problem: Exception) -> Any:
    def replay(step: FixedStep, logits: torch.Tensor) -> None:
        raise problem

    return replay


def _stuck(step: FixedStep, logits: torch.Tensor) -> None:
    logits.copy_(step.run())
    step.rewind()


@pytest.mark.parametrize("inference", [True, False])
@pytest.mark.parametrize(
    ("replay", "reason"),
    [
        (lambda step, logits: None, "differed"),
        (_stuck, "differed"),
        (lambda step, logits: logits.copy_(step.run() * 1.1), "differed"),
        (_raise(RuntimeError("operation not permitted\nand more")), "RuntimeError: operation not permitted)"),
        (_raise(AssertionError()), "AssertionError: )"),
    ],
    ids=["does nothing", "does not move on", "differs", "raises", "raises without a word"],
)
def test_what_can_not_be_trusted_is_given_up_and_decoding_goes_on(
    replay: Any, reason: str, inference: bool, graphs: dict[str, Any]
) -> None:
    upper, tree, first, cache = prefilled("llama")
    _, expected = decoded(lambda token: upper.decode_step(token, tree, cache), first, 5)
    upper, tree, first, cache = prefilled("llama")
    graphs["replay"] = replay
    with torch.inference_mode(inference):
        step, why = try_recording(upper, tree, cache, first)
    assert step is None
    assert reason in why
    assert "\n" not in why
    assert graphs["log"][-2:] == ["synchronized", "back on current"]
    _, logits = decoded(lambda token: upper.decode_step(token, tree, cache), first, 5)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("where", ["the buffers", "the recording", "the usual step"])
def test_no_lack_of_memory_costs_the_answer(
    where: str, graphs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    upper, tree, first, cache = prefilled("llama")
    _, expected = decoded(lambda token: upper.decode_step(token, tree, cache), first, 5)
    upper, tree, first, cache = prefilled("llama")

    def lacking(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    decode_step, calls = UpperModel.decode_step, [0]

    def second_fails(*arguments: Any) -> torch.Tensor:
        calls[0] += 1
        return lacking() if calls[0] == 2 else decode_step(*arguments)  # type: ignore[func-returns-value, return-value]

    with monkeypatch.context() as patched:
        if where == "the buffers":
            patched.setattr(GrowingLayer, "reserve", lacking)
        elif where == "the recording":
            graphs["recording"] = lacking
        else:
            patched.setattr(UpperModel, "decode_step", second_fails)
        step, why = try_recording(upper, tree, cache, first)
    assert (step, "out of memory" in why) == (None, True)
    assert cache.get_seq_length() == len(TOKENS)
    _, logits = decoded(lambda token: upper.decode_step(token, tree, cache), first, 5)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def described(family: str) -> tuple[Any, Adapter]:
    """A model and an adapter of shapes alone."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(tiny_config(family), dtype=torch.bfloat16).eval()
        return model, Adapter.untrained(model, "tiny", InjectionConfig("merged", 3), TREE)


def pretended_upper(model: Any, adapter: Adapter) -> tuple[UpperModel, TreeContext, Any]:
    upper = UpperModel(on_cuda(model), on_cuda(adapter))
    keys = torch.empty(1, 2, 9, 8, dtype=torch.bfloat16, device=CUDA)
    turn = torch.empty(1, 1, 8, dtype=torch.bfloat16, device=CUDA)
    tree = TreeContext(
        dict.fromkeys(range(3), keys), dict.fromkeys(range(3), keys), dict.fromkeys(range(3), (turn, turn))
    )
    _, cache = upper.prefill(torch.empty(13, dtype=torch.long, device=CUDA), tree)
    return upper, tree, cache


def test_only_one_gpu_without_hooks_and_windows_can_be_recorded() -> None:
    upper, tree, first, cache = prefilled("llama")
    assert recorded_step(upper, tree, cache, first.argmax()[None], 4) == (
        None,
        "a step was not recorded: the model is not on a CUDA device",
    )
    model, adapter = described("llama")
    with pretended_cuda(), torch.inference_mode():
        upper, _, cache = pretended_upper(model, adapter)
        assert why_not_recorded(upper, cache) == ""
        model.lm_head._hf_hook = object()
        assert "spread" in why_not_recorded(upper, cache), "accelerate's hooks move tensors"
    model, adapter = described("mistral")
    with pretended_cuda():
        upper = UpperModel(on_cuda(model), on_cuda(adapter))
        assert why_not_recorded(upper, upper.cache()) == ""
        for kernel in ("eager", "flash_attention_2"):  # one adds its mask to the logits, the other takes none
            model.config._attn_implementation = kernel
            assert f"{kernel} takes no masks" in why_not_recorded(upper, upper.cache())
        model.config._attn_implementation = "sdpa"
        model.config.sliding_window = 8
        assert "sliding window" in why_not_recorded(upper, upper.cache())


@pytest.mark.parametrize("flash", [True, False])
def test_neither_way_of_decoding_waits_for_the_device(flash: bool) -> None:
    model, adapter = described("llama")
    with pretended_cuda(flash=flash), torch.inference_mode():
        upper, tree, cache = pretended_upper(model, adapter)
        first = torch.empty(300, dtype=torch.bfloat16, device=CUDA)
        random = Sampler(0.7, 0.9)
        random._generator = torch.Generator()  # one of the GPU's can't be pretended
        for sampler in (Sampler(), random, Sampler(suppressed=SuppressedSequence([3, 4], [1.0, 2.0]))):
            drawn = sampler.draw(first)
            for step in (partial(upper.decode_step, tree=tree, cache=cache), FixedStep(upper, tree, cache, 8)):
                drawn = sampler.draw(step(drawn.token))  # the first tells the device of what is not to be said
                with Copies() as copies:
                    for _ in range(3):
                        drawn = sampler.draw(step(drawn.token))
                        assert drawn.token.device == drawn.best.device == CUDA
                assert copies.shapes == []
            with pytest.raises(DataDependentOutputException):
                drawn.read()  # the one thing that waits
