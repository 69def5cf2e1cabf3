"""A real checkpoint through the engine: the same tokens on the device as on the processor, and answers in 4 bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from sharedllm_cli.answer import Answer
from sharedllm_cli.config import InjectionConfig, Settings, TreeConfig
from sharedllm_cli.engine import Engine
from sharedllm_cli.lab.bench.checks import Finding
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.loading import load
from sharedllm_cli.progress import Silent
from sharedllm_cli.weights.registry import installed_folder

if TYPE_CHECKING:
    from sharedllm_cli.lab.bench.gpu_request import Asked

_STORY = (
    "The keeper of the light at Skerrow wound the clockwork every evening. {} gulls sat on the rail that day. "
    "He wrote the wind and the hour in his log, trimmed the wick, and slept until the second watch. "
)
_QUESTION = "How many gulls sat on the rail when the keeper wound the clockwork?"
_NEW_TOKENS = 16


def compare(asked: Asked, folder: Path, ends: float) -> Iterator[Finding]:
    """The findings, one by one; the first says that there is no checkpoint, where there is none."""
    located = installed_folder(asked.model, asked.folder) or Path(asked.model).expanduser()
    if not located.is_dir():
        yield Finding(asked.model, 0.0, 0.0, "left out: the model is not here (sharedllm models pull)")
        return
    story = folder / "story.txt"
    story.write_text("".join(_STORY.format(number) for number in range(12, 42)), encoding="utf-8")
    base = asked.settings(
        model=str(located),
        adapter=str(open_adapter(located, folder / "adapter", asked)),
        dtype="float32",
        quantize="none",
        max_new_tokens=_NEW_TOKENS,
        offline=True,
    )
    on_processor = ask(replace(base, device="cpu"), folder / "cpu", story, asked.folder)
    on_device = ask(base, folder / "device", story, asked.folder)
    same = float(on_processor.answer != on_device.answer)
    yield Finding("equal answers at float32, tree read", same, 0.0, on_device.answer[:60])
    keys = (on_processor.tree.kept_keys, on_device.tree.kept_keys)
    yield Finding("equal trees", float(keys[0] != keys[1] or not keys[0]), 0.0, f"{keys[1]} keys")
    if perf_counter() < ends:
        yield from _four_bits(base, folder, story, asked.folder)


def _four_bits(base: Settings, folder: Path, story: Path, home: Path) -> Iterator[Finding]:
    settings = replace(base, quantize="4bit", dtype="auto")
    first, second = (ask(settings, folder / "4bit", story, home) for _ in range(2))
    note = f"{first.model.device}, {first.answer[:60]}"
    yield Finding("4-bit engine answers", float(not first.timing.new_tokens), 0.0, note)
    yield Finding("4-bit index opens again, same answer", float(not _reused(first, second)), 0.0)


def _reused(first: Answer, second: Answer) -> bool:
    return bool(second.index.trees_hit) and not first.index.trees_hit and first.answer == second.answer


def ask(settings: Settings, indexes: Path, document: Path, home: Path) -> Answer:
    """One question of a document through an engine of its own, its index in a folder."""
    engine = Engine(replace(settings, index_dir=str(indexes)), home=home, reporter=Silent())
    library = engine.open([str(document)])
    answers: list[Any] = [piece for piece in engine.ask(library, _QUESTION) if isinstance(piece, Answer)]
    answer: Answer = answers[0]
    return answer


def open_adapter(model: Path, folder: Path, asked: Asked) -> Path:
    """An adapter for the checkpoint whose gates are open, so that the tree is read; untrained."""
    base = load(str(model), home=asked.folder, device="cpu", dtype="float32", quantize="none", offline=True)
    injection = InjectionConfig(form="merged", lower_layers=max(1, base.layer_count // 2))
    adapter = Adapter.untrained(base.model, base.name, injection, TreeConfig(64), weights_hash=base.weights_hash)
    adapter.open_gates(0.0)
    adapter.save(folder)
    return folder
