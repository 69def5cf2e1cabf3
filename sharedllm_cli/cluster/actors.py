"""What Ray's processes run: each gets a line of JSON and answers with one. Imports no Ray.

A line names a document by its path; texts, leaves and trees go to the store of indexes, which every machine sees.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sharedllm_cli import __version__
from sharedllm_cli.collections.pool import ReadingProcess, Setup, setup_line
from sharedllm_cli.config import Settings, TreeConfig
from sharedllm_cli.documents.readers import Limits
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.errors import SharedLLMError


def greeting(marker: str) -> str:
    """Which release this process has, and whether it sees the file that the first process made in the store."""
    return json.dumps({"version": __version__, "sees": Path(marker).is_file()})


class Extractor:
    """Reads documents into the store, each in a process with limits of its own. `setup`: a line of JSON."""

    def __init__(self, setup: str) -> None:
        given = json.loads(setup)
        self._process = ReadingProcess(setup_line(_setup(given["setup"]), given["beside"]))

    def greet(self, marker: str) -> str:
        """`greeting`."""
        return greeting(marker)

    def do(self, line: str) -> str:
        """Read one file: `name` and `path` in, `worker.read_one` out."""
        task = json.loads(line)
        return json.dumps(self._process.read(task["name"], task["path"]))


class Encoder:
    """Builds the trees of documents, with the model loaded once. `setup`: a line of JSON."""

    def __init__(self, setup: str) -> None:
        # Here: a process that reads loads no torch.
        from sharedllm_cli.engine import Engine, Library

        given = json.loads(setup)
        self._late = bool(given["late_states"])
        self._library = Library
        self._engine = Engine(Settings(**_tuples(given["settings"])), home=given["home"])

    def greet(self, marker: str) -> str:
        """`greeting`, with the model loaded. What can't be loaded is its `error`."""
        try:
            self._engine.load()
        except SharedLLMError as problem:
            return json.dumps({**json.loads(greeting(marker)), "error": [problem.message, problem.hint]})
        return greeting(marker)

    def do(self, line: str) -> str:
        """Index one file: `name`, `path` and `reindex` in; out, what `index` did with each of its documents."""
        task = json.loads(line)
        engine = self._engine
        engine.reporter.warnings.clear()
        library = self._library([])
        told: dict[str, Any] = {"path": task["path"], "outcomes": [], "failures": []}
        try:
            source = SourceFile(task["name"], Path(task["path"]))
            engine.shelf().open_into(library, [source], reindex=task["reindex"])
            outcomes = engine.index(library, late_states=self._late)[0] if library.documents else []
            told["outcomes"] = [asdict(outcome) for outcome in outcomes]
            told["failures"] = [[name, problem.message, problem.hint] for name, problem in library.failures]
        except SharedLLMError as problem:
            told["failures"] = [[task["name"], problem.message, problem.hint]]
        told["warnings"] = list(engine.reporter.warnings)
        return json.dumps(told)


def _setup(given: dict[str, Any]) -> Setup:
    """A setup from its JSON."""
    tree = given["tree"]
    config = TreeConfig(tree["chunk_tokens"], tree["height"], tuple(tree["ratios"]), tree["encoding"])
    return Setup(**{**given, "tree": config, "limits": Limits(**given["limits"])})


def _tuples(given: dict[str, Any]) -> dict[str, Any]:
    """Settings from their JSON, which has lists for tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
