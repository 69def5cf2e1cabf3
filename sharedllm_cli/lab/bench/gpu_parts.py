"""The parts of `bench.gpu`: what each measures or proves, as JSON takes it; `passed` is a part's verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch

from sharedllm_cli.context.tree import Node
from sharedllm_cli.index.encoding import NodeEncoder
from sharedllm_cli.lab.bench import texts
from sharedllm_cli.lab.bench.checks import Finding, all_checks, relative_error
from sharedllm_cli.lab.bench.gpu_decoding import decoding
from sharedllm_cli.lab.bench.gpu_request import Asked
from sharedllm_cli.lab.bench.request import Request
from sharedllm_cli.lab.bench.runner import run
from sharedllm_cli.lab.bench.subject import Subject, describe_subject, open_subject
from sharedllm_cli.lab.bench.timing import measure_machine, peak, reset_peak
from sharedllm_cli.model.lower import LowerModel
from sharedllm_cli.model.placement import choose_device, free_bytes
from sharedllm_cli.model.quantization import linear_weight, weight_bytes
from sharedllm_cli.planning import weights_bytes
from sharedllm_cli.progress import Silent

ASKING_BYTES = 200e6
"""What asking may take beside the model and the keys and values read, selected and the running text's."""
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
    from sharedllm_cli.lab.bench.checkpoint import compare

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

    `own_bytes` of it are keys and values of the running text itself.
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
        reading = texts.reading(subject, length, 1, None)
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
