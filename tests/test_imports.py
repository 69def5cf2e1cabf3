"""A question to a stored index imports and runs what answers it: nothing that indexes, fetches, converts or plans."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from place_keeper import keeping_to_places

from sharedllm_cli.model.adapter_config import CONFIG_FILE, read_config

ROOT = Path(__file__).parents[1]
MOST_MODULES, MOST_FILES_RUN = 101, 83
"""Modules of ours that are imported, and files of ours of which a function runs. Lower these when they fall."""
NOT_NEEDED = (
    *("index.build", "index.catalog", "index.encoding", "index.explain", "index.layout", "index.nodes", "planning"),
    *("model.random_weights", "model.recorded", "model.streaming"),
    *("weights.conversion", "weights.gguf_file", "weights.hub", "weights.pull"),
)
COUNTED = """
import json, sys, threading
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast  # before calls are noted, which is slow

from sharedllm_cli.cli.app import main

package = str(Path(sys.modules["sharedllm_cli"].__file__).parent)
files = set()

def note(frame, event, argument):
    if event == "call" and frame.f_code.co_flags & 1:  # a function: modules and class bodies have no fast locals
        files.add(frame.f_code.co_filename or "")

threading.setprofile(note)
sys.setprofile(note)
try:
    main(sys.argv[2:])
finally:
    sys.setprofile(None)
    modules = sorted(name for name in sys.modules if name.partition(".")[0] == "sharedllm_cli")
    ours = sorted(name for name in files if name.startswith(package))
    Path(sys.argv[1]).write_text(json.dumps([modules, ours]))
"""


@pytest.fixture
def command(model_folder: Callable[..., Path], tmp_path: Path, private_home: Path) -> list[str]:
    """A question to a tiny model whose adapter, as the shipped one, decodes several short answers and reads no tree."""
    settings = keeping_to_places(model_folder, tmp_path, private_home)
    folder = Path(str(settings.adapter))
    config = replace(read_config(folder), refuse_from=1.0, candidates=2)
    (folder / CONFIG_FILE).write_text(json.dumps(config.to_json()), encoding="utf-8")
    story = tmp_path / "harbour.txt"
    story.write_text("The harbour master keeps a ledger. Old Marten lights the northern beacon at dusk. " * 20)
    options = ["--model", settings.model, "--adapter", str(folder), "--device", "cpu", "--dtype", "float32"]
    return ["ask", *options, "--max-new-tokens", "8", str(story), "Who lights the beacon?"]


def test_a_warm_ask_imports_and_runs_what_it_needs(command: list[str], tmp_path: Path) -> None:
    counted = [sys.executable, "-c", COUNTED, str(tmp_path / "counted.json")]
    for program in ([sys.executable, "-m", "sharedllm_cli"], counted):  # the first one stores the index
        done = subprocess.run([*program, *command], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
    modules, files = json.loads((tmp_path / "counted.json").read_text())
    assert sorted({f"sharedllm_cli.{name}" for name in NOT_NEEDED} & set(modules)) == []
    print(f"{len(modules)} modules, {len(files)} files run")
    assert len(modules) <= MOST_MODULES
    assert len(files) <= MOST_FILES_RUN


NOT_ASKED_FOR = ("sympy", "torch._dynamo", "torch._inductor", "torch.distributed.fsdp", "torch.distributed.tensor")
SPARED = """
import sys

import sharedllm_cli.model.compat
import transformers

transformers.LlamaForCausalLM
print([name for name in sys.argv[1:] if name in sys.modules])

import torch

def doubled(states):
    return states * 2

compiled = torch.compile(doubled, backend="eager")
assert torch.equal(compiled(torch.ones(3)), doubled(torch.ones(3)))
assert torch.distributed.is_available()
assert torch._dynamo.disable(doubled) is not doubled
assert transformers.models.LlamaConfig is transformers.LlamaConfig
assert transformers.AutoConfig.for_model("qwen3").model_type == "qwen3"
"""


@pytest.mark.parametrize("environment", [{}, {"RANK": "0"}])
def test_transformers_comes_without_a_compiler_which_is_whole_when_asked_for(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SPARED, *NOT_ASKED_FOR],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    found = done.stdout.strip()
    assert (found == "[]") is not bool(environment), found  # one process of several gets all of it


ASKED = """
import sys

from sharedllm_cli.cli.app import main

try:
    main(sys.argv[2:])
finally:
    print([name for name in sys.argv[1].split() if name in sys.modules], file=sys.stderr)
"""


def test_an_answer_by_packed_weights_needs_no_compiler_either(command: list[str]) -> None:
    """An embedding that is filled with random numbers on the meta device brings it along: two seconds of each ask."""
    done = subprocess.run(
        [sys.executable, "-c", ASKED, " ".join(NOT_ASKED_FOR), *command, "--quantize", "8bit"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
