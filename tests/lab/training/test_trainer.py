"""The loop: a run is a function of its configuration, whatever interrupts it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sharedllm_cli.answering.kinds import RULES
from sharedllm_cli.config import Settings, TreeConfig
from sharedllm_cli.errors import ModelError, StoredIndexError, UsageError
from sharedllm_cli.lab.training import run_folder
from sharedllm_cli.lab.training.corpus import Documents, ScoresByPolicy, load_splits
from sharedllm_cli.lab.training.objective import NextTokens, TrainedUpper
from sharedllm_cli.lab.training.question_samples import Mixture, QuestionSamples
from sharedllm_cli.lab.training.records import DataFile
from sharedllm_cli.lab.training.run import Outcome, Request, run, starting_adapter
from sharedllm_cli.lab.training.trainer import Pace, Schedule, shares
from sharedllm_cli.model.adapter import WEIGHTS_FILE, Adapter, read_config
from sharedllm_cli.model.adapter_config import CONFIG_FILE
from sharedllm_cli.model.loading import BaseModel
from sharedllm_cli.model.lower import LowerModel
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.progress import Silent

MIXTURE = Mixture(least_evidence=150, most_evidence=300)
SCHEDULE = Schedule(steps=4, samples=2, learning_rate=3e-3)


def train(data_file: Path, settings: Settings, folder: Path, **changes: Any) -> Outcome:
    request = Request(
        (DataFile(data_file),), folder, rank=2, hold_back=2, validation=2, validation_samples=1, mixture=MIXTURE,
        schedule=SCHEDULE,
    )  # fmt: skip
    return run(replace(request, **changes), settings, home=folder.parent / "home", reporter=Silent())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / "adapter.safetensors")


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]


def test_training_four_steps_is_two_and_two_resumed(data_file: Path, settings: Settings, tmp_path: Path) -> None:
    train(data_file, settings, tmp_path / "whole")
    # A budget of no time stops after one step; every part has its own budget.
    first = train(data_file, settings, tmp_path / "parts", pace=Pace(max_seconds=0.0))
    assert (first.ending, first.steps) == ("time", 1)
    second = train(data_file, settings, tmp_path / "parts", pace=Pace(max_seconds=0.0), resume=True)
    assert (second.ending, second.steps) == ("time", 2)
    last = train(data_file, settings, tmp_path / "parts", resume=True)
    assert (last.ending, last.steps) == ("finished", 4)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, parts[name]), name
    losses = [[line["loss"] for line in metrics(tmp_path / name) if "loss" in line] for name in ("whole", "parts")]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4


TREE_MIXTURE = replace(MIXTURE, tree_only=0.7, least_tree=300, most_tree=900, text_tokens=60)


@pytest.mark.parametrize("objective", ["qa", "lm", "qa and texts"])
def test_training_to_read_is_the_same_in_parts(
    data_file: Path, settings: Settings, tmp_path: Path, objective: str
) -> None:
    changes: dict[str, Any] = {
        "objective": objective.split()[0],
        "first_layer": 0,
        "mixture": replace(TREE_MIXTURE, text=0.4) if objective == "qa and texts" else TREE_MIXTURE,
        "trees": tmp_path / "trees",
        "schedule": replace(SCHEDULE, steps=2),
        "validation_samples": 4,
    }
    train(data_file, settings, tmp_path / "whole", **changes)
    train(data_file, settings, tmp_path / "parts", **changes, pace=Pace(max_seconds=0.0))
    train(data_file, settings, tmp_path / "parts", **changes, resume=True)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, parts[name]), name
    gates = [tensor for name, tensor in whole.items() if name.endswith(".gate")]
    assert len(gates) == 2
    assert all(bool((gate != 0.0).any()) for gate in gates)
    looks = [line for line in metrics(tmp_path / "whole") if "tree_wrong" in line]
    assert len(looks) == 2
    assert (tmp_path / "whole" / "course.png").read_bytes().startswith(b"\x89PNG")


def test_samples_with_trees_need_an_adapter_that_reads(data_file: Path, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gates are closed"):
        train(data_file, settings, tmp_path / "run", mixture=TREE_MIXTURE)


def test_a_killed_run_goes_on_from_its_checkpoint(data_file: Path, settings: Settings, tmp_path: Path) -> None:
    train(data_file, settings, tmp_path / "whole", validation=0)
    train(data_file, settings, tmp_path / "killed", validation=0, pace=Pace(checkpoint_seconds=0.0))
    last = run_folder.checkpoints(tmp_path / "killed")[-1]
    last.rename(last.with_name(f".{last.name}.partial"))
    with (tmp_path / "killed" / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 5, "lo')
    train(data_file, settings, tmp_path / "killed", validation=0, resume=True)
    assert [line["step"] for line in metrics(tmp_path / "killed")] == [1, 2, 3, 4]
    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(tensor, killed[name]) for name, tensor in whole.items())


def test_a_run_goes_on_from_an_adapter_and_says_so(data_file: Path, settings: Settings, tmp_path: Path) -> None:
    first = train(data_file, settings, tmp_path / "first")
    train(data_file, settings, tmp_path / "second", start=first.adapter, rank=7)
    third = train(data_file, settings, tmp_path / "third", start=tmp_path / "second" / "adapter")
    trained = read_config(third.adapter).trained
    assert trained is not None
    hashes = [
        hashlib.sha256((tmp_path / name / "adapter" / WEIGHTS_FILE).read_bytes()).hexdigest()
        for name in ("second", "first")
    ]
    assert trained["parents"] == hashes
    assert "start" not in trained
    looked = [metrics(tmp_path / name) for name in ("first", "second")]
    assert looked[1][0]["validation_loss"] == looked[0][-1]["validation_loss"]
    assert weights(tmp_path / "second").keys() == weights(tmp_path / "first").keys()


def test_every_sample_is_drawn_once_and_in_order(
    data_file: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    make = QuestionSamples.__getitem__

    def counting(samples: QuestionSamples, number: int) -> Any:
        drawn.append(number)
        return make(samples, number)

    monkeypatch.setattr(QuestionSamples, "__getitem__", counting)
    train(data_file, settings, tmp_path / "run", validation=0, pace=Pace(max_seconds=0.0))
    train(data_file, settings, tmp_path / "run", validation=0, resume=True)
    assert drawn == list(range(8))


def test_an_interrupted_run_leaves_a_checkpoint(
    data_file: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_loss = NextTokens.loss

    before = signal.getsignal(signal.SIGINT)

    def interrupting(*arguments: Any) -> Any:
        if signal.getsignal(signal.SIGINT) is not before:  # a second one would end it at once
            os.kill(os.getpid(), signal.SIGINT)
        return answer_loss(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(NextTokens, "loss", interrupting)
        outcome = train(data_file, settings, tmp_path / "run", validation=0)
    assert outcome.ending == "interrupted"
    assert signal.getsignal(signal.SIGINT) is before
    train(data_file, settings, tmp_path / "run", validation=0, resume=True)
    train(data_file, settings, tmp_path / "whole", validation=0)
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "run")
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


def test_the_saved_adapter_has_the_loss_it_was_trained_to(
    data_file: Path, settings: Settings, tiny: BaseModel, tmp_path: Path
) -> None:
    train(data_file, settings, tmp_path / "run")
    adapter = Adapter.load(tmp_path / "run" / "adapter", tiny.model)
    assert adapter.trained
    assert not adapter.reads_tree
    upper = UpperModel(tiny.model, adapter)
    ((_, split),) = load_splits(
        [DataFile(data_file)], hold_back=2, validation=2, skip_bad_lines=False, reporter=Silent()
    )
    documents = Documents([(1.0, split.validation)], tiny.tokenizer, adapter.config.tree)
    scores = ScoresByPolicy("hybrid", tiny, LowerModel(tiny.model, adapter.config.injection.lower_layers))
    samples = QuestionSamples(documents, tiny.tokenizer, seed=1, window=tiny.window, mixture=MIXTURE, scores=scores)
    sample = samples[0]
    with torch.no_grad():
        total = NextTokens("qa").loss(TrainedUpper(upper), [sample], torch.device("cpu"))
    followed = [line["validation_loss"] for line in metrics(tmp_path / "run") if "validation_loss" in line]
    assert float(total) / sample.target_count == pytest.approx(followed[-1], rel=1e-6)
    assert followed[-1] != pytest.approx(followed[0], rel=1e-6)


def test_a_few_samples_are_learned(data_file: Path, settings: Settings, tmp_path: Path) -> None:
    one = data_file.with_name("one.jsonl")
    one.write_text(data_file.read_text("utf-8").splitlines(keepends=True)[0], encoding="utf-8")
    schedule = Schedule(steps=60, samples=2, learning_rate=3e-2)
    train(one, settings, tmp_path / "run", schedule=schedule, hold_back=0, validation=0, rank=8)
    losses = [line["loss"] for line in metrics(tmp_path / "run")]
    # Tied embeddings of a random model are short: its logits hardly leave zero, but they leave it the right way.
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 0.15


def test_provenance_tells_what_made_the_adapter(data_file: Path, settings: Settings, tmp_path: Path) -> None:
    train(data_file, settings, tmp_path / "run")
    trained = read_config(tmp_path / "run" / "adapter").trained
    assert trained is not None
    assert trained["data"] == [{"file": "lights.jsonl", "weight": 1.0, "sha256": DataFile(data_file).fingerprint()}]
    assert trained["position"]["step"] == 4
    assert trained["schedule"]["learning_rate"] == 3e-3
    assert {"torch", "sharedllm-cli"} <= set(trained["versions"])


def test_a_run_is_not_started_over_nor_resumed_otherwise(data_file: Path, settings: Settings, tmp_path: Path) -> None:
    train(data_file, settings, tmp_path / "run", pace=Pace(max_seconds=0.0))
    with pytest.raises(UsageError, match="holds a training run already"):
        train(data_file, settings, tmp_path / "run")
    with pytest.raises(UsageError, match="another schedule"):
        train(data_file, settings, tmp_path / "run", resume=True, schedule=replace(SCHEDULE, learning_rate=1e-3))


def test_only_whole_checkpoints_count_and_old_ones_go(data_file: Path, settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(data_file, settings, folder, pace=Pace(checkpoint_seconds=0.0))
    kept = run_folder.checkpoints(folder)
    assert [path.name for path in kept] == ["step-00000003", "step-00000004"]
    assert not [path for path in folder.rglob("*") if path.suffix in (".pt", ".pkl", ".bin") or "partial" in path.name]
    (folder / "checkpoints" / ".step-00000009.partial").mkdir()
    assert run_folder.checkpoints(folder) == kept
    (kept[-1] / "optimizer.safetensors").write_bytes(b"no")
    with pytest.raises(StoredIndexError, match="damaged"):
        train(data_file, settings, folder, resume=True)


def test_the_learning_rate_rises_then_falls_to_a_tenth() -> None:
    schedule = Schedule(steps=100, learning_rate=1.0, warmup=0.1)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
    for wrong in ({"steps": 0}, {"samples": 0}, {"learning_rate": 0.0}, {"warmup": 1.0}):
        with pytest.raises(UsageError):
            Schedule(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", [{"objective": "dance"}, {"data": ()}, {"rank": 0}])
def test_a_request_that_can_t_be_meant_is_refused(
    data_file: Path, settings: Settings, tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        train(data_file, settings, tmp_path / "run", **changes)


def test_no_layer_left_to_train_is_refused(data_file: Path, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="all layers"):
        train(data_file, replace(settings, lower_layers=4), tmp_path / "run")


def test_a_run_goes_on_from_an_adapter_that_reads_no_tree(
    data_file: Path, settings: Settings, tmp_path: Path, tiny: BaseModel
) -> None:
    train(data_file, settings, tmp_path / "first")
    deeper = replace(settings, lower_layers=3)
    adapter = starting_adapter(tmp_path / "first" / "adapter", 1, tiny, deeper, rank=2, seed=0)
    assert adapter.open_layers == [1, 2]
    before, after = weights(tmp_path / "first"), adapter.state_dict()
    learned = {name for name in before if name.startswith("low_rank.")}
    assert learned
    assert all(torch.equal(before[name], after[name]) for name in learned)
    with pytest.raises(ModelError, match="has no place"):
        starting_adapter(tmp_path / "first" / "adapter", 1, tiny, deeper, rank=3, seed=0)
    again = starting_adapter(tmp_path / "first" / "adapter", None, tiny, settings, rank=2, seed=0)
    assert not again.reads_tree


@pytest.mark.parametrize("kinds", [False, True])
def test_a_new_adapter_learns_the_rules_of_the_kinds_and_another_keeps_its_own(
    kinds: bool, data_file: Path, settings: Settings, tmp_path: Path, tiny: BaseModel
) -> None:
    first = train(data_file, settings, tmp_path / "first", schedule=replace(SCHEDULE, steps=1), validation=0)
    config = read_config(first.adapter)
    assert config.kinds
    assert config.trained is not None
    assert config.trained["prompt"]["rules"] == dict(RULES)
    data = config.to_json() | {"kinds": kinds}
    (first.adapter / CONFIG_FILE).write_text(json.dumps(data), encoding="utf-8")
    deeper = replace(settings, lower_layers=3)
    for first_layer, own in ((None, settings), (1, deeper)):
        assert starting_adapter(first.adapter, first_layer, tiny, own, rank=2, seed=0).config.kinds == kinds


def test_samples_are_dealt_whole_and_evenly(data_file: Path, tiny: BaseModel) -> None:
    splits = load_splits([DataFile(data_file)], hold_back=0, validation=0, skip_bad_lines=False, reporter=Silent())
    documents = Documents([(weight, split.training) for weight, split in splits], tiny.tokenizer, TreeConfig(256))
    samples = QuestionSamples(documents, tiny.tokenizer, seed=0, window=4096, mixture=MIXTURE)
    drawn = [samples[number] for number in range(9)]
    assert shares(drawn, 1) == [drawn]
    dealt = shares(drawn, 3)
    assert sorted(id(sample) for own in dealt for sample in own) == sorted(map(id, drawn))
    tokens = [sum(map(len, own)) for own in dealt]
    assert max(tokens) - min(tokens) <= max(map(len, drawn))
    assert shares(drawn[:1], 2) == [drawn[:1], []]
