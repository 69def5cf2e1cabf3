"""Documents read and indexed by the processes of a cluster: the same store as one process makes, byte for byte.

What is finished is found again: a document by its content, its leaves and trees by what made them (their manifests).
So an interrupted run goes on with the same command, wherever it runs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sharedllm_cli.cluster.actors import Encoder
from sharedllm_cli.cluster.reading import ENDED, ClusterReader
from sharedllm_cli.cluster.running import Cluster
from sharedllm_cli.cluster.spreading import Crew, Kind
from sharedllm_cli.collections.pool import Setup
from sharedllm_cli.config import Settings
from sharedllm_cli.documents.sources import SourceFile, expand
from sharedllm_cli.engine import IndexOutcome
from sharedllm_cli.errors import DocumentError, SharedLLMError, UsageError
from sharedllm_cli.planning import encoding_bytes
from sharedllm_cli.progress import Reporter

Failures = list[tuple[str, SharedLLMError]]


def index_on(
    cluster: Cluster,
    arguments: Sequence[str],
    settings: Settings,
    home: Path,
    setup: Setup,
    reporter: Reporter,
    *,
    workers: int | None = None,
    reindex: bool = False,
    late_states: bool = False,
) -> tuple[list[IndexOutcome], Failures]:
    """As `Engine.index`: what was done with each document, in the order in which they are named, and what failed.

    Documents are read by one process a CPU, then each content is encoded by one of few that have loaded the model.
    Raises as `Engine.index`, and UsageError for standard input and for one of several GPUs by its number.
    """
    if "-" in arguments:
        raise UsageError("--cluster reads files, not standard input")
    missing: list[tuple[str, DocumentError]] = []
    sources = expand(arguments, missing)
    failures: Failures = [*missing]
    if not reindex:
        sources = _read(cluster, sources, setup, workers, reporter, failures)
    told = _encoded(cluster, sources, settings, home, setup, workers, reporter, reindex, late_states)
    outcomes: list[IndexOutcome] = []
    known: set[str] = set()
    for source in sources:
        answer = told[str(source.path)]
        failures += [(name, DocumentError(text, hint=hint)) for name, text, hint in answer["failures"]]
        for warning in answer["warnings"]:
            reporter.warn(warning)
        for outcome in (IndexOutcome(**one) for one in answer["outcomes"]):
            if outcome.index_path not in known:
                known.add(outcome.index_path)
                outcomes.append(outcome)
    if not outcomes and failures:
        raise failures[0][1]
    return outcomes, failures


def _read(
    cluster: Cluster,
    sources: Sequence[SourceFile],
    setup: Setup,
    workers: int | None,
    reporter: Reporter,
    failures: Failures,
) -> list[SourceFile]:
    """The files to encode, each content once, once all were read; the others are failures."""
    found: dict[str, dict[str, Any]] = {}
    with reporter.task("reading", len(sources), "documents") as task:
        for answer in ClusterReader(cluster, setup, workers, reporter)(sources):
            found[answer["path"]] = answer
            task.advance(1)
    left: list[SourceFile] = []
    contents: set[str] = set()
    for source in sources:
        answer = found[str(source.path)]
        held = {one["content_hash"] for one in answer["documents"]}
        if answer["error"] is not None and not held:
            failures.append((source.name, DocumentError(answer["error"], hint=answer["hint"])))
        elif not held <= contents:
            contents |= held
            left.append(source)
    return left


def _encoded(
    cluster: Cluster,
    sources: Sequence[SourceFile],
    settings: Settings,
    home: Path,
    setup: Setup,
    workers: int | None,
    reporter: Reporter,
    reindex: bool,
    late_states: bool,
) -> dict[str, dict[str, Any]]:
    """What became of each file, by path."""
    settings, kind, count = encoder_kind(cluster, settings, home, workers, late_states)
    tasks = [{"name": one.name, "path": str(one.path), "reindex": reindex} for one in sources]
    told = {}
    with reporter.task("indexing", len(tasks), "documents") as progress:
        for task, answer in Crew(cluster, kind, count, Path(setup.store), reporter).work(tasks):
            lost = {"outcomes": [], "failures": [[task["name"], f"{task['name']}: {ENDED}", None]], "warnings": []}
            told[task["path"]] = lost if answer is None else answer
            progress.advance(1)
    return told


def encoder_kind(
    cluster: Cluster, settings: Settings, home: Path, workers: int | None, late_states: bool
) -> tuple[Settings, Kind, int]:
    """The settings of processes that encode, what each needs, and how many there are.

    On GPUs one a GPU, which Ray chooses; on CPUs one a machine, which computes on all cores.
    """
    if settings.device.startswith("cuda:"):
        raise UsageError(f"on a cluster Ray chooses the GPU: --device cuda, not {settings.device}")
    gpus = 1.0 if settings.device == "cuda" or (settings.device == "auto" and cluster.gpus) else 0.0
    settings = replace(settings, device="cuda" if gpus else "cpu" if settings.device == "auto" else settings.device)
    count = workers or (max(1, cluster.gpus) if gpus else max(1, cluster.machines))
    cpus = 1.0 if gpus else float(max(1, cluster.cpus // max(count, cluster.machines)))
    line = json.dumps({"settings": asdict(settings), "home": str(home), "late_states": late_states})
    return settings, Kind(Encoder, line, cpus, gpus, encoding_bytes(settings, home)), count
