"""The parts of `bench.gpu`: what each measures or proves, as JSON takes it; `passed` is a part's verdict."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from sharedllm_cli.answer import Answer
from sharedllm_cli.config import DEFAULT_MODEL, InjectionConfig, Settings, TreeConfig
from sharedllm_cli.context.tree import Node
from sharedllm_cli.engine import Engine
from sharedllm_cli.home import home_folder
from sharedllm_cli.index.encoding import NodeEncoder
from sharedllm_cli.lab.bench.benchmark import run
from sharedllm_cli.lab.bench.gpu_checks import Finding, all_checks, relative_error
from sharedllm_cli.lab.bench.request import Request
from sharedllm_cli.lab.bench.subject import Subject, describe_subject, make_reading, open_subject
from sharedllm_cli.lab.bench.timing import measure_machine, peak, reset_peak
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.loading import load
from sharedllm_cli.model.lower import LowerModel
from sharedllm_cli.model.placement import choose_device, free_bytes, linear_weight, weight_bytes
from sharedllm_cli.model.recorded import FixedStep, recorded_step
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.planning import weights_bytes
from sharedllm_cli.progress import Silent
from sharedllm_cli.weights.registry import installed_folder

BUDGET = 520.0
"""Seconds for all parts together; what a part does not use, those after it may."""


@dataclass(frozen=True)
class Asked:
    """What the script was asked: `dry` takes miniatures, `seconds` is the budget of all parts."""

    device: str = "cuda"
    model: str = DEFAULT_MODEL
    home: str | None = None
    dry: bool = False
    seconds: float = BUDGET

    @property
    def folder(self) -> Path:
        """Where models are."""
        return Path(self.home) if self.home else home_folder(os.environ)

    def settings(self, **changes: Any) -> Settings:
        """Settings of a part on the device."""
        small = {"chunk_tokens": 64} if self.dry else {}
        return Settings(device=self.device, **{**small, **changes})


ASKING_BYTES = 200e6
"""What asking may take beside the model and the keys and values read, selected and the prompt's."""
FLAT_BYTES = 64e6
"""By how much the peak of reading a million tokens may pass that of reading an eighth of them."""
_PRODUCT_BOUND = 2e-2
_WEIGHTS_SHARE = 0.6
"""A model whose weights take more of the free memory is timed in 4 bits instead."""


@dataclass(frozen=True)
class Part:
    """A part and its share of the budget; `run` is told when it must have ended (`perf_counter`)."""

    run: Callable[[Asked, float], dict[str, Any]]
    weight: float


def machine(asked: Asked, ends: float) -> dict[str, Any]:
    """The device, and what it can do in the type that would be chosen."""
    subject = open_subject("tiny", asked.settings(), asked.folder, Silent())
    found = measure_machine(subject.placement)
    device = subject.placement.device
    properties = torch.cuda.get_device_properties(device) if device.type == "cuda" else None
    return {
        "device": str(device),
        "name": properties.name if properties else "processor",
        "memory_bytes": properties.total_memory if properties else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "dtype": str(subject.placement.dtype).removeprefix("torch."),
        "operations_per_s": found.rate,
        "bytes_per_s": found.bandwidth,
    }


def checks(asked: Asked, ends: float) -> dict[str, Any]:
    """Each path in miniature against the processor in float64; one that raises is a failed one."""
    rows: list[dict[str, Any]] = []
    for check in all_checks(choose_device(asked.device)):
        if perf_counter() > ends:
            rows.append(_row(Finding("the remaining checks", float("inf"), 0.0, "the time was up")))
            break
        try:
            finding = check()
        except Exception as problem:  # one kernel that is missing must not hide what the others do
            finding = Finding("a check", float("inf"), 0.0, f"{type(problem).__name__}: {problem}")
        rows.append(_row(finding))
    return _verdict(rows)


def checkpoint(asked: Asked, ends: float) -> dict[str, Any]:
    """A real checkpoint end to end: the processor's tokens at float32, and answers in 4 bits from an index."""
    with TemporaryDirectory(prefix="sharedllm-checkpoint-") as folder:
        return _verdict([_row(finding) for finding in compare(asked, Path(folder), ends)])


def _shape_part(shape: str, quantize: str) -> Callable[[Asked, float], dict[str, Any]]:
    """A part that times a shape's arms at all lengths and depths."""

    def part(asked: Asked, ends: float) -> dict[str, Any]:
        lengths, depths = ((256, 512), (2, 4)) if asked.dry else ((8192, 32768, 131072), (4, 8, 16))
        chosen = "none" if asked.dry else _that_fits(asked, shape, quantize)
        settings = asked.settings(quantize=chosen)
        subject = open_subject("tiny" if asked.dry else shape, settings, asked.folder, Silent())
        request = Request(
            lengths,
            shape=subject.name,
            layers=tuple((0, depth) for depth in depths),
            running_tokens=32 if asked.dry else 1280,
            new_tokens=2 if asked.dry else 32,
            repeats=1 if asked.dry else 2,
            encoders=("2x64x4x128", "base") if asked.dry else ("cepe", "base"),
            memory=False,
        )
        products = quantized_products(subject) if chosen != "none" else None
        found = run(subject, request, settings, home=asked.folder, reporter=Silent(), deadline=ends)
        decoded = decoding(subject, request.running_tokens, 4 if asked.dry else 64) if perf_counter() < ends else None
        passed = products is None or products["passed"]
        own_bytes = subject.base.key_value * subject.facts.layer_count * subject.base.number_bytes
        beside = asking(found, own_bytes * request.running_tokens)
        return {**found, "asking": beside, "decoding": decoded, "products": products, "passed": passed}

    return part


def _that_fits(asked: Asked, shape: str, quantize: str) -> str:
    """The quantization asked for, or 4 bits where the weights would leave too little memory to read with."""
    subject = describe_subject(shape, asked.settings(quantize=quantize), asked.folder)
    room = _WEIGHTS_SHARE * free_bytes(subject.placement.device)
    return quantize if weights_bytes(subject.facts, subject.placement) <= room else "4bit"


def quantized_products(subject: Subject) -> dict[str, Any]:
    """Products with the first layer's quantised maps against those with the numbers that they stand for."""
    attention: Any = subject.model.model.layers[0].self_attn
    rows = []
    for name in ("q_proj", "k_proj", "o_proj"):
        linear = getattr(attention, name)
        states = torch.randn(64, linear.in_features, device=subject.placement.device, dtype=subject.placement.dtype)
        exact = states.double() @ linear_weight(linear).double().T
        rows.append(
            _row(Finding(f"{subject.placement.quantize} {name}", relative_error(linear(states), exact), _PRODUCT_BOUND))
        )
    return _verdict(rows)


def asking(found: dict[str, Any], own_bytes: int) -> list[dict[str, Any]]:
    """Of each indexed reading that was measured: its peak beside the model and the selected keys and values.

    `own_bytes` of it are keys and values of the prompt itself.
    """
    rows = []
    for length, of in found["lengths"].items():
        for arm, told in of["arms"].items():
            indexed = told.get("indexed")
            if indexed and indexed["peak_bytes"]:
                beside = indexed["peak_bytes"] - found["model"]["memory_bytes"] - told["tree_bytes"]
                within = beside - own_bytes <= ASKING_BYTES
                rows.append(
                    {"tokens": int(length), "arm": arm, "bytes": beside, "own_bytes": own_bytes, "within": within}
                )
    return rows


def flat_memory(asked: Asked, ends: float) -> dict[str, Any]:
    """Peak of the device while documents up to a million tokens run through the lower model, all levels."""
    settings = asked.settings(quantize="auto")
    subject = open_subject("tiny" if asked.dry else "llama-3.1-8b", settings, asked.folder, Silent())
    lower = LowerModel(subject.model, 2 if asked.dry else 4)
    device = subject.placement.device
    rows: list[dict[str, Any]] = []
    for length in (512, 1024) if asked.dry else (131072, 1048576):
        reading = make_reading(subject, length, 1, None)
        nodes = [
            Node(chunk, *place) for chunk, tree in enumerate(reading.leaves.trees) for place in tree.stored_nodes()
        ]
        encoder = NodeEncoder(lower, reading.leaves, "int8", Silent())
        reset_peak(device)
        started = perf_counter()
        encoded = 0
        for batch in encoder.encode(nodes):
            encoded += len(batch.places)
            if perf_counter() > ends:
                break
        seconds = perf_counter() - started
        rows.append(
            {
                "tokens": length,
                "nodes": len(nodes),
                "encoded_nodes": encoded,
                "seconds": seconds,
                "peak_bytes": peak(device),
            }
        )
    peaks = [row["peak_bytes"] for row in rows]
    measured = all(value is not None for value in peaks)
    growth = peaks[-1] - peaks[0] if measured else None
    return {
        "rows": rows,
        "model_bytes": weight_bytes(subject.model),
        "growth_bytes": growth,
        "passed": all(row["encoded_nodes"] == row["nodes"] for row in rows) and (growth or 0) <= FLAT_BYTES,
    }


def _row(finding: Finding) -> dict[str, Any]:
    return {**asdict(finding), "passed": finding.passed}


def _verdict(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"rows": rows, "passed": all(row["passed"] for row in rows)}


PARTS: Mapping[str, Part] = {
    "machine": Part(machine, 2),
    "checks": Part(checks, 8),
    "checkpoint": Part(checkpoint, 9),
    "llama-3.1-8b": Part(_shape_part("llama-3.1-8b", "none"), 16),
    "llama-2-7b-4bit": Part(_shape_part("llama-2-7b", "4bit"), 11),
    "memory": Part(flat_memory, 6),
}
"""In the order of running; the weights share out the seconds."""


Step = Callable[[Tensor], Tensor]


def decoding(subject: Subject, running_tokens: int, new_tokens: int) -> dict[str, Any]:
    """Tokens a second by the usual step and by one at fixed addresses, recorded where the device can do that.

    `why_not` tells why nothing was recorded, where nothing was; `agree`: both gave the same tokens.
    """
    device = subject.placement.device
    adapter = Adapter.untrained(subject.model, subject.name, InjectionConfig(), TreeConfig())
    upper = UpperModel(subject.model, adapter)
    try:
        ids = torch.randint(
            subject.facts.vocabulary_size, (running_tokens,), generator=torch.Generator().manual_seed(3)
        )
        first, cache = upper.prefill(ids.to(device), None)
        usual = _timed(lambda token: upper.decode_step(token, None, cache), first, new_tokens, subject)
        first, cache = upper.prefill(ids.to(device), None)
        started = perf_counter()
        recorded, why_not = recorded_step(upper, None, cache, first.argmax()[None], new_tokens)
        seconds = perf_counter() - started
        # Unrecorded it is for a processor alone: where a GPU refused, its attention may not take the mask either.
        steps: Step | None = recorded if device.type == "cuda" else FixedStep(upper, None, cache, new_tokens)
        fixed = None if steps is None else _timed(steps, first, new_tokens, subject)
    finally:
        upper.remove()
    return {
        "tokens_per_s": usual[0],
        "fixed_tokens_per_s": None if fixed is None else fixed[0],
        "recorded": recorded is not None,
        "recording_s": seconds,
        "why_not": why_not,
        "agree": None if fixed is None else usual[1] == fixed[1],
    }


@torch.inference_mode()
def _timed(step: Step, first: Tensor, new_tokens: int, subject: Subject) -> tuple[float, list[int]]:
    """Tokens a second, and the tokens; greedy, and none is looked at before the end."""
    tokens = [first.argmax()[None]]
    subject.synchronise()
    started = perf_counter()
    for _ in range(new_tokens):
        tokens.append(step(tokens[-1]).argmax()[None])
    subject.synchronise()
    return new_tokens / (perf_counter() - started), torch.cat(tokens).tolist()


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
