"""`sharedllm train` as it is typed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sharedllm_cli.cli.app import run
from sharedllm_cli.cli.terminal.console import Console
from sharedllm_cli.lab.training import run as training_run
from sharedllm_cli.lab.training.trainer import Trainer

TINY = ["--steps", "2", "--samples", "2", "--rank", "2", "--hold-back", "2", "--validation", "1", "--device", "cpu"]


def call(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = run(["train", *arguments], Console(out, err))
    return code, out.getvalue(), err.getvalue()


@contextmanager
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@pytest.fixture
def tiny_arguments(data_file: Path, tiny_folder: Path, tmp_path: Path) -> list[str]:
    out = str(tmp_path / "run")
    return ["--data", str(data_file), "--out", out, "--model", str(tiny_folder), "--lower-layers", "2", *TINY]


def test_a_run_ends_with_an_adapter_that_models_show_calls_trained(tiny_arguments: list[str], tmp_path: Path) -> None:
    code, out, err = call(*tiny_arguments, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["ending"], told["steps"]) == ("finished", 2)
    config = json.loads((Path(told["adapter"]) / "adapter.json").read_text("utf-8"))
    assert config["trained"]["objective"] == "qa"
    assert config["injection"]["lower_layers"] == 2
    assert config["low_rank"]["layers"] == [2, 3]
    assert "validation loss" in err
    again, _, err = call(*tiny_arguments)
    assert again == 2
    assert "--resume" in err


def test_every_flag_arrives(tiny_arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def keep(request: Any, settings: Any, **others: Any) -> Any:
        seen.append((request, settings))
        return training_run.Outcome("finished", request.run / "adapter", 0, 0, 0, 1.0)

    monkeypatch.setattr(training_run, "run", keep)
    flags = ["--data", "b.jsonl.xz=0.5", "--hold-back", "7", "--validation", "8", "--skip-bad-lines", "--steps", "9"]
    flags += ["--samples", "10", "--learning-rate", "0.25", "--rank", "11", "--batch-tokens", "12", "--seed", "13"]
    flags += ["--max-minutes", "2", "--resume", "--from", "there", "--objective", "qa", "--chunk-tokens", "128"]
    flags += ["--gradient-checkpointing"]
    code, _, err = call(*tiny_arguments, *flags)
    assert code == 0, err
    ((request, settings),) = seen
    assert [(file.path.name, file.weight) for file in request.data] == [("lights.jsonl", 1.0), ("b.jsonl.xz", 0.5)]
    assert (request.hold_back, request.validation, request.skip_bad_lines, request.resume) == (7, 8, True, True)
    schedule = request.schedule
    assert (schedule.steps, schedule.samples, schedule.batch_tokens, schedule.seed) == (9, 10, 12, 13)
    assert (schedule.learning_rate, request.rank, request.pace.max_seconds) == (0.25, 11, 120.0)
    assert request.start == Path("there")
    assert (settings.chunk_tokens, settings.lower_layers) == (128, 2)
    assert request.gradient_checkpointing
    assert request.first_layer is None, "nothing asks for a tree"


def test_every_flag_of_the_tree_arrives(tiny_arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def keep(request: Any, settings: Any, **others: Any) -> Any:
        seen.append((request, settings))
        return training_run.Outcome("finished", request.run / "adapter", 0, 0, 0, 1.0)

    monkeypatch.setattr(training_run, "run", keep)
    flags = [
        "--tree-only-share",
        "0.4",
        "--text-share",
        "0.1",
        "--trees",
        "kept",
    ]
    flags += ["--tree-tokens", "300-900"]
    flags += ["--first-layer", "1", "--encoding", "chunk", "--injection", "additive"]
    flags += ["--passage-tokens", "100-200", "--validation-samples", "3", "--documents", "4"]
    code, _, err = call(*tiny_arguments, *flags)
    assert code == 0, err
    ((request, settings),) = seen
    mixture = request.mixture
    assert (mixture.tree_only, mixture.text) == (0.4, 0.1)
    assert (mixture.least_tree, mixture.most_tree) == (300, 900)
    assert (mixture.least_evidence, mixture.most_evidence) == (100, 200)
    assert (request.trees, request.validation_samples, request.documents) == (Path("kept"), 3, 4)
    assert request.first_layer == 1
    assert (settings.encoding, settings.injection) == ("chunk", "additive")


def test_texts_stand_among_questions_alone(tiny_arguments: list[str]) -> None:
    code, _, err = call(*tiny_arguments, "--objective", "lm", "--text-share", "0.1")
    assert code == 2
    assert "--text-share is for --objective qa alone" in err


def test_an_objective_of_the_tree_opens_the_gates(tiny_arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    outcome = training_run.Outcome("finished", Path("adapter"), 0, 0, 0, 1.0)
    monkeypatch.setattr(training_run, "run", lambda request, *_, **__: seen.append(request) or outcome)
    assert call(*tiny_arguments, "--objective", "lm")[0] == 0
    assert seen[0].first_layer == 0
    assert seen[0].objective == "lm"


@pytest.mark.usefixtures("bitsandbytes_alone")
def test_a_base_in_four_bits_is_trained_too(tiny_arguments: list[str], model_folder: Callable[..., Path]) -> None:
    # bitsandbytes' kernel for processors takes rows of whole blocks of 64
    wide = {"hidden_size": 128, "head_dim": 32, "intermediate_size": 256, "max_position_embeddings": 4096}
    flags = [
        "--model",
        str(model_folder("llama", **wide)),
        "--quantize",
        "4bit",
        "--tree-only-share",
        "1",
        "--tree-tokens",
        "300-600",
        "--json",
    ]
    code, out, err = call(*tiny_arguments, *flags)
    assert code == 0, err
    adapter = Path(json.loads(out)["adapter"])
    config = json.loads((adapter / "adapter.json").read_text("utf-8"))
    assert config["trained"]["base"]["quantize"] == "4bit"
    learned = load_file(adapter / "adapter.safetensors")
    assert all(bool(tensor.any()) for name, tensor in learned.items() if name.endswith(".up"))
    assert {tensor.dtype for tensor in learned.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--data", "missing.jsonl"], 3, "no data file"),
        (["--data", "x.jsonl=-1"], 2, "positive number"),
        (["--objective", "dance"], 2, "unknown objective"),
        (["--lower-layers", "4"], 2, "all layers"),
        (["--hold-back", "12"], 3, "too few"),
        (["--tree-only-share", "0.5", "--tree-tokens", "900"], 2, "two numbers"),
        (["--tree-only-share", "0.5", "--first-layer", "2"], 2, "first injected layer"),
    ],
)
def test_a_mistake_is_one_line_and_its_exit_code(
    tiny_arguments: list[str], flags: list[str], code: int, words: str
) -> None:
    found, out, err = call(*tiny_arguments, *flags)
    assert (found, out) == (code, "")
    assert words in err
    assert "Traceback" not in err


def test_two_processes_learn_what_one_learns(tiny_arguments: list[str], tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "SHAREDLLM_HOME": str(tmp_path / "home")}
    several = [argument.replace("/run", "/several") for argument in tiny_arguments]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launch, "-m", "sharedllm_cli", "train", *several, "--validation", "0"],
        capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[3], timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    with one_thread():  # as each of the two: sums of another order are rounding, which the first steps of Adam blow up
        assert call(*tiny_arguments, "--validation", "0")[0] == 0
    one, two = (load_file(tmp_path / name / "adapter" / "adapter.safetensors") for name in ("run", "several"))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], rtol=1e-4, atol=1e-5, msg=name)


def test_a_run_leaves_its_processes_also_when_it_fails(
    tiny_arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[Trainer] = []

    def fail(trainer: Trainer) -> None:
        raise MemoryError

    monkeypatch.setattr(Trainer, "train", fail)
    monkeypatch.setattr(Trainer, "leave", lambda trainer: left.append(trainer))
    assert call(*tiny_arguments)[0] != 0
    assert len(left) == 1
