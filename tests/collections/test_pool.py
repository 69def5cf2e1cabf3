"""Several processes read what one would; one that dies takes its document alone; a killed run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from keeping import Keeper, updating_line
from test_updating import settle

from sharedllm_cli.collections import pool, worker
from sharedllm_cli.collections.opening import setup_for
from sharedllm_cli.documents.sources import expand
from sharedllm_cli.index.bundle import read_bundle
from sharedllm_cli.progress import Silent

ROOT = Path(__file__).parents[2]


def fill(keeper: Keeper, count: int) -> None:
    for number in range(count):
        keeper.write(f"{number:03}.md", f"# Note {number}\n\nThe lantern number {number} hangs at the door.\n")
    settle()


def folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def stored(root: Path) -> dict[str, dict[str, bytes]]:
    found = {}
    for folder in folders(root):
        if (bundle := read_bundle(folder)) is not None:
            found[folder.name] = {name: bytes(data) for name, data in bundle.files.items()}
    return found


def test_processes_write_what_one_process_writes(keeper: Keeper, tmp_path: Path) -> None:
    fill(keeper, 12)
    setup = setup_for(keeper.settings, keeper.home, Silent())
    sources = expand([str(keeper.files)])
    alone = pool.Setup(str(tmp_path / "alone"), setup.tokenizer, setup.tokenizer_hash, setup.tree)
    shelf = worker.shelf_of(updating_line(alone))
    serial = {source.name: worker.read_one(shelf, source.name, str(source.path)) for source in sources}
    together = pool.Setup(str(tmp_path / "together"), setup.tokenizer, setup.tokenizer_hash, setup.tree)
    parallel = {Path(one["path"]).name: one for one in pool.read_all(sources, together, 2)}
    assert parallel == serial
    assert stored(tmp_path / "together") == stored(tmp_path / "alone")
    assert len(stored(tmp_path / "alone")) == 12


def test_a_process_that_ends_takes_its_document_alone(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fill(keeper, 3)
    # A module that ends the process on one file, and answers for the others.
    (tmp_path / "ending.py").write_text(
        "import json, os, sys\n"
        "sys.stdin.readline()\n"
        "for line in sys.stdin:\n"
        "    task = json.loads(line)\n"
        "    if '001' in task['path']:\n"
        "        sys.stderr.write('a library gave up\\n'); os._exit(9)\n"
        "    print(json.dumps({'path': task['path'], 'stamp': [], 'documents': [], 'error': None, 'hint': None}))\n"
        "    sys.stdout.flush()\n"
    )
    monkeypatch.setattr(pool, "COMMAND", ("-c", (tmp_path / "ending.py").read_text()))
    setup = setup_for(keeper.settings, keeper.home, Silent())
    answers = {Path(one["path"]).name: one for one in pool.read_all(expand([str(keeper.files)]), setup, 1)}
    assert answers["000.md"]["error"] is None
    assert answers["002.md"]["error"] is None
    assert "ended a process" in answers["001.md"]["error"]
    assert answers["001.md"]["hint"] == "a library gave up"


def test_a_killed_add_goes_on_where_it_stopped(keeper: Keeper, model_folder: Callable[..., Path]) -> None:
    fill(keeper, 60)
    command = [sys.executable, "-m", "sharedllm_cli", "collections", "add", "notes", str(keeper.files)]
    command += ["--model", keeper.settings.model, "--offline", "--workers", "1"]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    root = keeper.home / "indexes"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(folders(root)) <= 5:
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    time.sleep(0.5)  # the reader ends when its input does
    before = {folder.name: (folder / "bundle.safetensors").stat().st_ino for folder in folders(root)}
    assert 5 < len(before) < 60
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "60 documents" in done.stdout
    after = {folder.name: (folder / "bundle.safetensors").stat().st_ino for folder in folders(root)}
    assert len(after) == 60
    assert {name: after[name] for name in before} == before


def test_the_number_of_processes_is_bounded() -> None:
    assert pool.worker_count(0) == 1
    assert pool.worker_count(3) == 1
    assert pool.worker_count(5, 64) == 5
    assert pool.worker_count(500, 3) == 3
    assert 1 <= pool.worker_count(100_000) <= (os.cpu_count() or 1)
