"""The training loop, on Hugging Face Accelerate: one CPU, one GPU, or several by `accelerate launch`, the same code.

Every step draws its samples by number, so a run is a function of its configuration: train 4 is train 2, resume,
train 2. Knows no data and no loss; both come as an objective and its `Samples`.
"""

from __future__ import annotations

import datetime
import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch
from accelerate import Accelerator  # type: ignore[import-untyped,unused-ignore]

from sharedllm_cli.errors import UsageError
from sharedllm_cli.lab.training import run_folder
from sharedllm_cli.lab.training.objective import NextTokens, Samples, TrainedUpper
from sharedllm_cli.lab.training.run_folder import Position
from sharedllm_cli.lab.training.sample import Sample, by_length
from sharedllm_cli.lab.training.validation import Validation
from sharedllm_cli.progress import Reporter, Task

METRICS = "metrics.jsonl"
Ending = Literal["finished", "time", "interrupted"]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: steps in all, samples a step (over all processes), and the learning rate's course."""

    steps: int = 400
    samples: int = 4
    learning_rate: float = 5e-4
    warmup: float = 0.05
    weight_decay: float = 0.0
    clip: float = 1.0
    batch_tokens: int = 1
    seed: int = 0
    gate_rate: float = 100.0
    """Gates learn this many times faster: a single number has far to go in steps of a weight's size."""

    def __post_init__(self) -> None:
        if min(self.steps, self.samples) < 1 or not 0 <= self.warmup < 1 or self.learning_rate <= 0:
            raise UsageError("steps, samples and learning rate must be positive, the warm-up a share below 1")

    def rate(self, step: int) -> float:
        """Learning rate of a step (from 0): a linear rise, then a cosine to a tenth."""
        warm = max(1, round(self.steps * self.warmup))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        done = (step - warm) / max(1, self.steps - warm)
        return self.learning_rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


@dataclass(frozen=True)
class Pace:
    """When to stop, to write and to look: in seconds of this part of the run."""

    max_seconds: float = math.inf
    checkpoint_seconds: float = 300.0
    validate_seconds: float = 600.0


def shares(samples: Sequence[Sample], count: int) -> list[list[Sample]]:
    """Samples dealt to `count` processes, the longest first, each to whoever has the fewest tokens so far."""
    if count == 1:
        return [list(samples)]
    dealt: list[list[Sample]] = [[] for _ in range(count)]
    for sample in sorted(samples, key=len, reverse=True):
        min(dealt, key=lambda own: sum(map(len, own))).append(sample)
    return dealt


class Trainer:
    """Trains an adapter in place. `provenance` goes into every adapter that is written, with where the run stood."""

    def __init__(
        self,
        model: TrainedUpper,
        objective: NextTokens,
        samples: Samples,
        run: Path,
        schedule: Schedule,
        *,
        pace: Pace | None = None,
        validation: Validation | None = None,
        provenance: Mapping[str, Any] | None = None,
        reporter: Reporter,
    ) -> None:
        device = next(model.base.parameters()).device
        self._accelerator = Accelerator(cpu=device.type == "cpu")
        self._parameters = model.trained_parameters()
        gates = [parameter for name, parameter in self._parameters.items() if name.endswith(".gate")]
        weights = [parameter for name, parameter in self._parameters.items() if not name.endswith(".gate")]
        groups = [
            {"params": weights, "times": 1.0, "weight_decay": schedule.weight_decay},
            {"params": gates, "times": schedule.gate_rate, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=(0.9, 0.999))
        self._adapter = model.adapter
        self._objective = objective
        self._samples = samples
        self._run = run
        self._schedule = schedule
        self._pace = pace or Pace()
        self._controls = validation.controls() if validation and validation.samples else {}
        self._provenance = provenance or {}
        self._reporter = reporter
        self._interrupted = False
        self._stop_at = math.inf
        self.position = Position()
        self._optimizer: Any = optimizer
        # Not wrapped for several processes: which weights get gradients differs from sample to sample (with a tree or
        # without), and an adapter's few gradients are quickly exchanged once a step (`_share_gradients`).
        self._model = model

    @property
    def configuration(self) -> dict[str, Any]:
        """What a resumed run must have in common with the run before."""
        return {"objective": self._objective.name, "schedule": asdict(self._schedule), **self._provenance}

    def resume(self) -> bool:
        """Go on from the newest checkpoint; False where there is none."""
        found = run_folder.checkpoints(self._run)
        if not found:
            return False
        self.position = run_folder.load(found[-1], self._adapter, self._optimizer, self._parameters, self.configuration)
        self._forget_later_metrics()
        return True

    def train(self) -> Ending:
        """Train until the steps are done, the time is up or the user interrupts; a checkpoint is left in each case."""
        self._run.mkdir(parents=True, exist_ok=True)
        ending: Ending = "finished"
        self._stop_at = self.position.seconds + self._pace.max_seconds
        last_saved = last_looked = time.monotonic()
        self._validate()
        with self._interruptible(), self._reporter.task("Training", self._schedule.steps, "steps") as task:
            task.advance(self.position.step)
            while self.position.step < self._schedule.steps:
                self._step(task)
                if time.monotonic() - last_saved >= self._pace.checkpoint_seconds:
                    self.save()
                    last_saved = time.monotonic()
                if time.monotonic() - last_looked >= self._pace.validate_seconds:
                    self._validate()
                    last_looked = time.monotonic()
                if reason := self._reason_to_stop():
                    ending = reason
                    break
        self.save()
        self._validate()
        return ending

    def save(self) -> None:
        """Write a checkpoint, and the adapter as it is now into the run's `adapter` folder."""
        if self._accelerator.is_main_process:
            run_folder.save(
                self._run, self.position, self._adapter, self._optimizer, self._parameters, self.configuration
            )
            written = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            trained = {**self.configuration, "position": asdict(self.position), "written": written}
            self._adapter.save(self._run / run_folder.ADAPTER, trained=trained)
        self._accelerator.wait_for_everyone()

    def leave(self) -> None:
        """Leave the group of processes that train together; nothing can be trained after it.

        A process that ends while still in the group can be torn down with a thread at work, which aborts it, and the
        launcher then takes a finished run for a failed one.
        """
        self._accelerator.end_training()

    def _reason_to_stop(self) -> Ending | None:
        """Why to stop now; all processes decide alike."""
        late = self.position.seconds >= self._stop_at
        votes = torch.tensor([float(self._interrupted), float(late)], device=self._accelerator.device)
        interrupted, late_votes = self._accelerator.reduce(votes, "sum").tolist()
        return "interrupted" if interrupted else "time" if late_votes else None

    def _step(self, task: Task) -> None:
        started = time.monotonic()
        drawn = self._draw()
        targets = self._total(sum(sample.target_count for sample in drawn))
        weighed = self._total(sum(sample.weighed for sample in drawn))
        rate = self._schedule.rate(self.position.step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["times"]
        loss = 0.0
        for together in by_length(drawn, self._schedule.batch_tokens):
            total = self._objective.loss(self._model, together, self._accelerator.device)
            self._accelerator.backward(total / weighed)
            loss += float(total.detach())
        self._share_gradients()
        norm = float(self._accelerator.clip_grad_norm_(list(self._parameters.values()), self._schedule.clip))
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        tokens = self._total(sum(len(sample) for sample in drawn))
        seconds = time.monotonic() - started
        now = self.position
        self.position = Position(
            now.step + 1,
            now.next_sample + self._schedule.samples,
            now.targets + targets,
            now.tokens + tokens,
            now.seconds + seconds,
        )
        loss = self._total(loss) / weighed
        self._record(loss=loss, learning_rate=rate, gradient_norm=norm, tokens_per_s=tokens / seconds)
        task.advance(1)

    def _draw(self) -> list[Sample]:
        """This process's share of the step's samples: all processes should be done at about the same time."""
        first = self.position.next_sample
        drawn = [self._samples[first + place] for place in range(self._schedule.samples)]
        return shares(drawn, self._accelerator.num_processes)[self._accelerator.process_index]

    def _total(self, value: float) -> Any:
        """The sum over all processes, an int where it was one."""
        if self._accelerator.num_processes == 1:
            return value
        wide = torch.tensor(float(value), dtype=torch.float32, device=self._accelerator.device)
        return type(value)(self._accelerator.reduce(wide, "sum").item())

    def _share_gradients(self) -> None:
        """Sum the gradients of all processes, each of which has the loss over its own samples."""
        if self._accelerator.num_processes == 1:
            return
        parameters = list(self._parameters.values())
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([parameter.grad.float().flatten() for parameter in parameters if parameter.grad is not None])
        summed = self._accelerator.reduce(flat, "sum").split([parameter.numel() for parameter in parameters])
        for parameter, own in zip(parameters, summed, strict=True):
            parameter.grad = own.view_as(parameter).to(parameter.dtype)

    def _validate(self) -> None:
        if not self._controls or not self._accelerator.is_main_process:
            return
        found = {name: self._loss_of(samples) for name, samples in self._controls.items()}
        gates = self._adapter.gate_values()
        self._record(**found, **gates)
        told = f"validation loss {found['validation_loss']:.3f} an answer token"
        if "tree_wrong" in found:
            told += "; tree {tree_right:.3f}, wrong tree {tree_wrong:.3f}, none {tree_none:.3f}".format(**found)
        self._reporter.note(f"step {self.position.step}: {told}")

    def _loss_of(self, samples: Sequence[Sample]) -> float:
        losses = 0.0
        with torch.no_grad():
            for together in by_length(samples, self._schedule.batch_tokens):
                losses += float(self._objective.loss(self._model, together, self._accelerator.device))
        return losses / sum(sample.weighed for sample in samples)

    def _record(self, **values: float) -> None:
        if not self._accelerator.is_main_process:
            return
        line = {**asdict(replace(self.position, seconds=round(self.position.seconds, 2))), **values}
        with (self._run / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _forget_later_metrics(self) -> None:
        """Drop the metrics of steps that a killed run made after its last checkpoint: they are made again."""
        path = self._run / METRICS
        if self._accelerator.is_main_process and path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= self.position.step]
            path.write_text("".join(kept), encoding="utf-8")

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Ctrl-C ends the run after the step under way; a second one at once."""

        def stop(number: int, frame: FrameType | None) -> None:
            self._interrupted = True
            signal.signal(signal.SIGINT, before)

        before: Callable[[int, FrameType | None], Any] | int | None
        try:
            before = signal.signal(signal.SIGINT, stop)
        except ValueError:  # not the main thread: whoever runs it there interrupts in its own way
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
