"""Trains the scoring head of `hybrid` for a base model: `python -m sharedllm_cli.lab.training.late_head`.

The head's equations are those of retrieval/late_head.py. A question's leaf is told from all other leaves of its
document: cross-entropy over the leaves, of BM25 and late interaction together and, by a smaller share, of late
interaction alone.
The base model is frozen; only questions whose answer is known to stand in one place are learned from. docs/training.md
holds the command that made the shipped head.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sharedllm_cli.config import Settings, TreeConfig
from sharedllm_cli.documents.chunking import plain_ids
from sharedllm_cli.lab.training.located import LocatedDocument, LocatedQuestion, locate
from sharedllm_cli.lab.training.records import DataFile, read_records
from sharedllm_cli.model.loading import load
from sharedllm_cli.model.lower import LowerModel
from sharedllm_cli.progress import Reporter, Silent
from sharedllm_cli.reading.heads import head_bytes
from sharedllm_cli.reading.scoring import leaf_states
from sharedllm_cli.retrieval import bm25, policies
from sharedllm_cli.retrieval.late_head import SHARE_STEPS, WEIGHT_GAIN, LateHead

LAYERS = 1
DIMENSION = 128
QUESTIONS_A_STEP = 16
LEARNING_RATE, NUMBERS_RATE = 2e-3, 1e-2
WARM_UP_STEPS = 30
ALONE_SHARE = 0.3
"""How much the loss of late interaction alone counts: BM25 must not explain away what it could learn."""
_INITIAL_SHARES = (-1.0, 0.0, -0.5, -1.5)
"""Before the sigmoid, in the order of `SHARE_STEPS`."""


class TrainableHead(nn.Module):
    """The head's equations in torch; starts as plain late interaction within the states' main directions."""

    def __init__(self, states: Tensor, dimension: int = DIMENSION) -> None:
        """`states` [n, d]: a sample of leaf states, whose mean and main directions the head starts from."""
        super().__init__()
        centre = states.mean(0)
        unit = functional.normalize(states - centre, dim=-1)
        directions = torch.linalg.svd(unit.T @ unit)[0][:, :dimension]
        self.centre: Tensor
        self.register_buffer("centre", centre)
        self.projection = nn.Parameter(directions.contiguous())
        self.question_bias = nn.Parameter(torch.zeros(directions.shape[1]))
        self.leaf_bias = nn.Parameter(torch.zeros(directions.shape[1]))
        self.direction = nn.Parameter(torch.zeros(len(centre)))
        self.shares = nn.Parameter(torch.tensor(_INITIAL_SHARES))
        self.idf_gain = nn.Parameter(torch.tensor(1.0))
        self.weight_bias = nn.Parameter(torch.tensor(0.0))
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.lexical_weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, leaves: Tensor, real: Tensor, asked: Tensor, idf: Tensor, owner: Tensor, count: int) -> Tensor:
        """Late interaction of every leaf for `count` questions: [count, leaves].

        leaves: [L, l, d] states, short leaves padded; real: [L, l], False where padded; asked: [q, d], idf: [q] and
        owner: [q] (the question's number) of all questions' tokens.
        """
        tokens = functional.normalize((leaves - self.centre) @ self.projection + self.leaf_bias, dim=-1)
        wanted = functional.normalize((asked - self.centre) @ self.projection + self.question_bias, dim=-1)
        cosines = (wanted @ tokens.flatten(0, 1).T).reshape(-1, *real.shape)
        best = cosines.masked_fill(~real, -1.0).amax(-1).relu()
        along = functional.normalize(asked - self.centre, dim=-1) @ self.direction
        weights = functional.softplus(self.idf_gain * idf + WEIGHT_GAIN * along + self.weight_bias)
        scores = torch.zeros(count, len(leaves)).index_add(0, owner, self._shared(best) * weights[:, None])
        return self.scale * scores

    def _shared(self, best: Tensor) -> Tensor:
        """[q, L] with the neighbours' shares."""
        shared = best
        for step, share in zip(SHARE_STEPS, torch.sigmoid(self.shares), strict=True):
            if best.shape[1] > abs(step):
                kept = best[:, :-step] if step > 0 else best[:, -step:]
                padding = (step, 0) if step > 0 else (0, -step)
                shared = torch.maximum(shared, share * functional.pad(kept, padding))
        return shared

    def loss(self, late: Tensor, lexical_scores: Tensor, gold: Tensor) -> Tensor:
        """late, lexical_scores: [count, L]; gold: the same, True at the leaves that hold the answer."""
        together = late + self.lexical_weight * lexical_scores
        return _cross_entropy(together, gold) + ALONE_SHARE * _cross_entropy(late, gold)

    def exported(self) -> LateHead:
        """The head as numbers."""
        arrays = {
            name: getattr(self, name).detach().numpy().copy()
            for name in ("projection", "centre", "question_bias", "leaf_bias", "direction")
        }
        shares: Any = tuple(torch.sigmoid(self.shares).tolist())
        names = ("idf_gain", "weight_bias", "scale", "lexical_weight")
        return LateHead(**arrays, shares=shares, **{name: getattr(self, name).item() for name in names})


def _cross_entropy(scores: Tensor, gold: Tensor) -> Tensor:
    """How unlikely the gold leaves are together, averaged over questions."""
    golden = scores.masked_fill(~gold, -math.inf)
    return (scores.logsumexp(1) - golden.logsumexp(1)).mean()


@dataclass(frozen=True)
class Batch:
    """Questions of one document, by place."""

    document: int
    questions: tuple[int, ...]


class Examples:
    """Documents with their leaves' states, in half precision, and their questions' tensors."""

    def __init__(self, documents: Sequence[LocatedDocument], tokenizer: Any, lower: LowerModel) -> None:
        self.documents = documents
        self._tokenizer = tokenizer
        self._lower = lower
        self._states = [leaf_states(one.leaves, lower, lambda tokens: None).states for one in documents]
        self._questions = [[one for one in document.questions if _placed(one)] for document in documents]

    def sample(self, tokens: int = 20_000) -> Tensor:
        """Leaf states from all documents, [n, d]."""
        every = max(1, sum(map(len, self._states)) // tokens)
        return torch.from_numpy(np.concatenate([states[::every] for states in self._states])).float()

    def batches(self, random: np.random.Generator) -> list[Batch]:
        """All questions once, those of a document together, in random order."""
        made = []
        for place, questions in enumerate(self._questions):
            order = random.permutation(len(questions)).tolist()
            steps = range(0, len(order), QUESTIONS_A_STEP)
            made += [Batch(place, tuple(order[first : first + QUESTIONS_A_STEP])) for first in steps]
        return [made[place] for place in random.permutation(len(made)).tolist()]

    def tensors(self, batch: Batch) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor, Tensor, int], Tensor, Tensor]:
        """What `forward` takes, BM25 [count, L] and gold [count, L]."""
        leaves = self.documents[batch.document].leaves
        questions = [self._questions[batch.document][place] for place in batch.questions]
        ids = [np.array(plain_ids(self._tokenizer, one.question)) for one in questions]
        spans = leaves.leaf_spans
        every_leaf = [leaves.tokens.ids[start:end] for start, end in spans.tolist()]
        idf = np.concatenate([policies.token_weights(one, every_leaf) for one in ids])
        asked = torch.cat([self._lower.states(torch.from_numpy(one)[None], LAYERS)[0] for one in ids])
        owner = torch.repeat_interleave(torch.arange(len(ids)), torch.tensor([len(one) for one in ids]))
        padded, real = _padded(self._states[batch.document], spans)
        found = [bm25.scores(one.question, [leaves.lexical]).values[0] for one in questions]
        gold = torch.zeros(len(questions), leaves.leaf_count, dtype=torch.bool)
        for row, one in enumerate(questions):
            gold[row, sorted(one.gold)] = True
        weights = torch.from_numpy(idf).float()
        return (padded, real, asked.float(), weights, owner, len(ids)), torch.from_numpy(np.stack(found)).float(), gold


def _placed(question: LocatedQuestion) -> bool:
    """Whether the answer stands in one place only."""
    return bool(question.gold) and question.gold == question.holding


def _padded(states: np.ndarray, spans: np.ndarray) -> tuple[Tensor, Tensor]:
    places = spans[:, :1] + np.arange((spans[:, 1] - spans[:, 0]).max())[None]
    real = places < spans[:, 1:]
    return torch.from_numpy(states[places.clip(max=len(states) - 1)]).float(), torch.from_numpy(real)


def train(head: TrainableHead, examples: Examples, *, epochs: int, seed: int) -> Iterator[float]:
    """Train a head in place; yields every step's loss. Nothing but the questions' order is random."""
    random = np.random.default_rng(seed)
    order = [batch for _ in range(epochs) for batch in examples.batches(random)]
    matrices = [head.projection, head.question_bias, head.leaf_bias]
    numbers = [head.direction, head.shares, head.idf_gain, head.weight_bias, head.scale, head.lexical_weight]
    groups = [{"params": matrices, "lr": LEARNING_RATE}, {"params": numbers, "lr": NUMBERS_RATE}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / WARM_UP_STEPS) * 0.5 * (1 + math.cos(math.pi * step / len(order)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    for batch in order:
        inputs, found, gold = examples.tensors(batch)
        loss = head.loss(head(*inputs), found, gold)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        yield loss.item()


def _documents(spec: str, tokenizer: Any, tree: TreeConfig, reporter: Reporter) -> tuple[list[LocatedDocument], Any]:
    """The documents of `FILE:COUNT` (the first COUNT lines; all without it), and what is told of them."""
    name, _, count = spec.partition(":")
    records = read_records(Path(name), skip_bad_lines=True, reporter=reporter)[: int(count) if count else None]
    documents = [locate(record, tokenizer, tree, paged=False) for record in records]
    return documents, {
        "file": Path(name).name,
        "sha256": DataFile(Path(name)).fingerprint(),
        "first_documents": len(records),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on the data named and write the head's file."""
    parser = argparse.ArgumentParser(prog="python -m sharedllm_cli.lab.training.late_head", description=__doc__)
    parser.add_argument("--data", action="append", required=True, metavar="FILE[:COUNT]")
    parser.add_argument("--model", default=Settings().model)
    parser.add_argument("--home", type=Path, required=True, help="the folder that holds models/")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    reporter = Silent()
    base = load(options.model, home=options.home, offline=True, reporter=reporter)
    lower = LowerModel(base.model, LAYERS)
    documents, told = [], []
    for spec in options.data:
        found, facts = _documents(spec, base.tokenizer, Settings().tree_config(), reporter)
        documents += found
        told.append(facts)
    losses: list[float] = []
    examples = Examples(documents, base.tokenizer, lower)
    head = TrainableHead(examples.sample())
    for loss in train(head, examples, epochs=options.epochs, seed=options.seed):
        losses.append(loss)
        if len(losses) % 50 == 0:
            sys.stderr.write(f"step {len(losses)}: loss {np.mean(losses[-50:]):.3f}\n")
    provenance = {
        "base": base.name,
        "base_weights": base.weights_hash,
        "data": told,
        "epochs": options.epochs,
        "seed": options.seed,
        "steps": len(losses),
        "last_loss": float(np.mean(losses[-50:])),
    }
    options.out.write_bytes(head_bytes(head.exported(), provenance))


if __name__ == "__main__":
    main()
