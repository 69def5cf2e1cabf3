"""A Ray of this machine with two actors: the serial store, byte for byte; one killed in the middle; nothing open."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
from keeping import Keeper, updating_line
from test_pool import fill, stored

from sharedllm_cli.cluster.indexing import index_on
from sharedllm_cli.cluster.reading import ClusterReader
from sharedllm_cli.cluster.running import LOCAL, Cluster, running
from sharedllm_cli.collections import worker
from sharedllm_cli.collections.opening import setup_for
from sharedllm_cli.collections.pool import Setup
from sharedllm_cli.config import Settings
from sharedllm_cli.documents.sources import expand
from sharedllm_cli.engine import Engine
from sharedllm_cli.progress import Silent

# Not by importing it: it reads the environment then.
pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(LOCAL) as found:
        yield replace(found, cpus=2)


@pytest.fixture
def keeper(model_folder: Callable[..., Path], private_home: Path, tmp_path: Path) -> Keeper:
    files = tmp_path / "files"
    files.mkdir()
    settings = Settings(model=str(model_folder()), device="cpu", dtype="float32", offline=True)
    return Keeper(settings, private_home, files)


def setup_in(keeper: Keeper, store: Path) -> Setup:
    return replace(setup_for(keeper.settings, keeper.home, Silent()), store=str(store))


def inodes(root: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_ino for path in root.glob("*/bundle.safetensors")}


def actors() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.cmdline() and process.cmdline()[0].startswith("ray::Extractor"):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_two_actors_write_what_one_process_writes(cluster: Cluster, keeper: Keeper, tmp_path: Path) -> None:
    fill(keeper, 12)
    (keeper.files / "broken.pdf").write_bytes(b"%PDF-1.4\nnothing of a PDF\n")
    sources = expand([str(keeper.files)])
    shelf = worker.shelf_of(updating_line(setup_in(keeper, tmp_path / "alone")))
    serial = {str(one.path): worker.read_one(shelf, one.name, str(one.path)) for one in sources}
    reader = ClusterReader(cluster, setup_in(keeper, tmp_path / "together"), 2, Silent())
    parallel = {one["path"]: one for one in reader(sources)}
    for answers in (serial, parallel):
        for answer in answers.values():
            answer.pop("stamp")  # whether a file's clock had settled
    assert parallel == serial
    assert sum(answer["error"] is not None for answer in parallel.values()) == 1
    assert stored(tmp_path / "together") == stored(tmp_path / "alone")
    assert len(stored(tmp_path / "alone")) == 12


def test_an_actor_that_is_killed_loses_nothing_and_nothing_is_done_twice(
    cluster: Cluster, keeper: Keeper, tmp_path: Path
) -> None:
    fill(keeper, 40)
    sources = expand([str(keeper.files)])
    setup = setup_in(keeper, tmp_path / "store")
    answers: list[dict[str, Any]] = []
    before: dict[str, int] = {}
    for answer in ClusterReader(cluster, setup, 2, Silent())(sources):
        answers.append(answer)
        if len(answers) == 5:
            before = inodes(tmp_path / "store")
            found = actors()
            assert len(found) == 2
            os.kill(found[0].pid, signal.SIGKILL)
    assert sorted(one["path"] for one in answers) == sorted(str(source.path) for source in sources)
    assert [one["error"] for one in answers if one["error"]] == []
    after = inodes(tmp_path / "store")
    assert len(after) == 40
    assert {name: after[name] for name in before} == before
    again = list(ClusterReader(cluster, setup, 2, Silent())(sources))
    assert len(again) == 40
    assert inodes(tmp_path / "store") == after


def test_an_interrupted_run_goes_on_where_it_stopped(cluster: Cluster, keeper: Keeper, tmp_path: Path) -> None:
    fill(keeper, 30)
    sources = expand([str(keeper.files)])
    setup = setup_in(keeper, tmp_path / "store")
    first = ClusterReader(cluster, setup, 2, Silent())(sources)
    for _ in range(6):
        next(first)
    first.close()  # type: ignore[attr-defined]
    before = inodes(tmp_path / "store")
    assert 6 <= len(before) < 30
    assert len(list(ClusterReader(cluster, setup, 2, Silent())(sources))) == 30
    after = inodes(tmp_path / "store")
    assert len(after) == 30
    assert {name: after[name] for name in before} == before


def trees(root: Path) -> dict[str, bytes]:
    """The files of all trees; of their manifests what does not say when they were made."""
    found = {}
    for path in sorted(root.glob("*/trees-*/*")):
        lines = path.read_bytes().splitlines(keepends=True)
        manifest = path.name == "manifest.json"
        kept = [line for line in lines if not (manifest and line.lstrip().startswith((b'"at"', b'"seal"')))]
        found[str(path.relative_to(root))] = b"".join(kept)
    return found


def test_trees_are_those_of_one_process(cluster: Cluster, keeper: Keeper, tmp_path: Path) -> None:
    fill(keeper, 5)
    (keeper.files / "broken.pdf").write_bytes(b"%PDF-1.4\nnothing of a PDF\n")
    alone = replace(keeper.settings, index_dir=str(tmp_path / "alone"))
    serial, failures = Engine(alone, home=keeper.home).index([str(keeper.files)])
    settings = replace(keeper.settings, index_dir=str(tmp_path / "together"))
    setup = setup_for(settings, keeper.home, Silent())
    arguments = [cluster, [str(keeper.files)], settings, keeper.home, setup, Silent()]
    parallel, lost = index_on(*arguments, workers=2)
    assert [one.name for one in parallel] == [one.name for one in serial]
    assert [name for name, _ in lost] == [name for name, _ in failures] == ["broken.pdf"]
    assert len(trees(tmp_path / "alone")) == 10
    assert trees(tmp_path / "together") == trees(tmp_path / "alone")
    assert stored(tmp_path / "together") == stored(tmp_path / "alone")
    again, _ = index_on(*arguments, workers=2)
    assert all(one.skipped for one in again)
    assert len(again) == 5


def test_nothing_listens_beyond_this_machine(cluster: Cluster) -> None:
    own = {process.pid for process in [psutil.Process(), *psutil.Process().children(recursive=True)]}
    listening = []
    for pid in own:
        try:
            listening += [
                one.laddr.ip for one in psutil.Process(pid).net_connections("inet") if one.status == psutil.CONN_LISTEN
            ]
        except psutil.Error:
            continue
    assert listening
    assert {address.removeprefix("::ffff:") for address in listening} <= {"127.0.0.1", "::1"}
    host = socket.gethostbyname(socket.gethostname())
    assert host.startswith("127.") or host not in listening


def test_usage_is_not_reported_and_the_dashboard_is_off(cluster: Cluster) -> None:
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert os.environ["RAY_AUTH_MODE"] == "token"
    context = json.dumps(cluster.ray.get_runtime_context().gcs_address)
    assert "127.0.0.1" in context
    assert not cluster.ray._private.worker._global_node.webui_url
