"""Files read by the processes of a cluster: what `collections/pool.py` does on one machine."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sharedllm_cli.cluster.actors import Extractor
from sharedllm_cli.cluster.running import Cluster
from sharedllm_cli.cluster.spreading import Crew, Kind
from sharedllm_cli.collections.pool import WORKER_BYTES, Setup, failed
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.progress import Reporter

ENDED = "reading it ended two processes of the cluster"
ACTOR_BYTES = 150_000_000
"""What an actor takes beside the process that reads for it."""


class ClusterReader:
    """Reads files on a cluster; called as `pool.read_all` is, without its setup and number of processes."""

    def __init__(self, cluster: Cluster, setup: Setup, workers: int | None, reporter: Reporter) -> None:
        self._setup = setup
        count = workers or max(1, cluster.cpus)
        beside = math.ceil(count / max(1, cluster.machines))
        line = json.dumps({"setup": asdict(setup), "beside": beside})
        kind = Kind(Extractor, line, 1, 0, WORKER_BYTES + ACTOR_BYTES)
        self._crew = Crew(cluster, kind, count, Path(setup.store), reporter)

    def __call__(self, sources: Sequence[SourceFile]) -> Iterator[dict[str, Any]]:
        """What is known of each file as it is done (`worker.read_one`), in no particular order."""
        tasks = [{"name": source.name, "path": str(source.path)} for source in sources]
        for task, answer in self._crew.work(tasks):
            yield failed(task["name"], task["path"], ENDED) if answer is None else answer
