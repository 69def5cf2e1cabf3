"""`eval ppl`: how well the tokens at the end of long stretches are predicted, by how what came before is read.

All arms score the same tokens with the same weights and read the same recent tokens before them as plain text, without
prompt or special token. They differ in what else they read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from sharedllm_cli.config import Settings
from sharedllm_cli.errors import UsageError
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.evaluation import metrics
from sharedllm_cli.lab.evaluation.metrics import Estimate
from sharedllm_cli.lab.evaluation.perplexity_stretches import (
    Book,
    Plan,
    Sizes,
    Stretch,
    StretchTrees,
    has_other,
    other_book,
    plan,
    read_texts,
    tokenized,
)
from sharedllm_cli.lab.evaluation.provenance import data_facts, model_facts, program_facts
from sharedllm_cli.lab.evaluation.runner import Run, check_named, interval_json
from sharedllm_cli.lab.training.records import DataFile
from sharedllm_cli.model.adapter_config import UNTRAINED
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.shared import SharedModel, load_shared
from sharedllm_cli.model.streaming import SINKS, StreamingReader
from sharedllm_cli.progress import Reporter, Task

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Scored:
    """Negative log-likelihood in nats, summed over a stretch's scored tokens; the tree's keys, and its text's name."""

    nll: float
    tree_keys: int = 0
    tree_of: str | None = None


class StretchReader:
    """Reads stretches and scores their last tokens. `streaming_window`: what that arm's tokens see beside the sinks."""

    def __init__(
        self, books: Sequence[Book], shared: SharedModel, sizes: Sizes, trees: StretchTrees, streaming_window: int
    ) -> None:
        self.books = books
        self.sizes = sizes
        self.trees = trees
        self._shared = shared
        self._streaming_window = streaming_window
        self._by_window: dict[tuple[int, int], Scored] = {}

    def window(self, stretch: Stretch, advance: Advance) -> Scored:
        """The recent tokens alone. The same for every length that ends here, so it is read once."""
        place = (stretch.book, stretch.end)
        if place not in self._by_window:
            self._by_window[place] = self._plain(stretch, self.sizes.plain, None)
        advance(self.sizes.plain)
        return self._by_window[place]

    def full(self, stretch: Stretch, advance: Advance) -> Scored:
        """The whole stretch in the window."""
        scored = self._plain(stretch, stretch.length, None)
        advance(stretch.length)
        return scored

    def streaming(self, stretch: Stretch, advance: Advance) -> Scored:
        """The whole stretch through sinks and sliding window, from its first token on."""
        reader = StreamingReader(self._shared.upper, window=self._streaming_window)
        logits = reader.read(self._ids(stretch, stretch.length)[:-1], keep=self.sizes.scored, advance=advance)
        advance(1)
        return Scored(self._nll(logits, stretch))

    def tree(self, stretch: Stretch, advance: Advance) -> Scored:
        """The recent tokens, and the tree of all that came before."""
        return self._beside(stretch, self.books[stretch.book], stretch.start, advance)

    def tree_wrong(self, stretch: Stretch, advance: Advance) -> Scored:
        """The recent tokens, and the tree of as many tokens from the beginning of another text, or of all others."""
        other = other_book(self.books, stretch.book, stretch.length - self.sizes.plain)
        assert other is not None, "such stretches are left out beforehand"
        return self._beside(stretch, other, 0, advance)

    def _beside(self, stretch: Stretch, book: Book, first: int, advance: Advance) -> Scored:
        before = stretch.length - self.sizes.plain
        tree = self.trees.read(book, first, first + before, advance)
        scored = self._plain(stretch, self.sizes.plain, tree.context)
        advance(self.sizes.plain)
        return Scored(scored.nll, tree.keys, book.name)

    @torch.inference_mode()
    def _plain(self, stretch: Stretch, tokens: int, tree: TreeContext | None) -> Scored:
        """Score with the stretch's last so many tokens as plain text; the last one is predicted only."""
        ids = self._ids(stretch, tokens)[:-1]
        logits = self._shared.upper.forward(ids[None], tree, logits_to_keep=self.sizes.scored)[0]
        return Scored(self._nll(logits, stretch))

    @torch.inference_mode()
    def _nll(self, logits: Tensor, stretch: Stretch) -> float:
        """logits: [scored, vocabulary], each after the token before a scored one."""
        targets = self._ids(stretch, self.sizes.scored).to(logits.device)
        return float(torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum"))

    def _ids(self, stretch: Stretch, tokens: int) -> Tensor:
        ids = self.books[stretch.book].tokens.ids[stretch.end - tokens : stretch.end]
        return torch.from_numpy(ids).long().to(self._shared.base.device)


@dataclass(frozen=True)
class Arm:
    """A way to read. `needs_tree`: without an open gate it would be `window` again. `wrong` reads another text's tree.

    `whole`: the stretch has to fit the window.
    """

    name: str
    read: Callable[[StretchReader, Stretch, Advance], Scored]
    needs_tree: bool = False
    wrong: bool = False
    whole: bool = False

    def cost(self, stretch: Stretch, sizes: Sizes) -> int:
        """Tokens that are read or encoded, for progress."""
        return sizes.plain if self.name == "window" else stretch.length


ARMS: Mapping[str, Arm] = MappingProxyType(
    {
        arm.name: arm
        for arm in (
            Arm("window", StretchReader.window),
            Arm("streaming", StretchReader.streaming),
            Arm("sharedllm", StretchReader.tree, needs_tree=True),
            Arm("tree-wrong", StretchReader.tree_wrong, needs_tree=True, wrong=True),
            Arm("full", StretchReader.full, whole=True),
        )
    }
)
"""Every arm by its name on the command line."""


def left_out(
    names: Sequence[str], stretches: Sequence[Stretch], books: Sequence[Book], shared: SharedModel, sizes: Sizes
) -> dict[tuple[int, str], str]:
    """Why an arm can't be measured at a length, by length and name: at each an arm scores all stretches or none."""
    reasons: dict[tuple[int, str], str] = {}
    for length in sorted({stretch.length for stretch in stretches}):
        before = length - sizes.plain
        here = [stretch for stretch in stretches if stretch.length == length]
        for arm in (ARMS[name] for name in names):
            if arm.needs_tree and not shared.upper.reads_tree:
                reasons[length, arm.name] = "the adapter reads no tree, so it would be window again"
            elif arm.wrong and not all(has_other(books, stretch.book, before) for stretch in here):
                reasons[length, arm.name] = "the other texts together are too short for a tree of as many tokens"
            elif arm.whole and length > shared.base.window:
                reasons[length, arm.name] = f"it does not fit the model's window of {shared.base.window:,} tokens"
    return reasons


def line(arm: Arm, book: Book, stretch: Stretch, scored: Scored, sizes: Sizes) -> dict[str, Any]:
    """One line of predictions."""
    return {
        "arm": arm.name,
        "text": book.name,
        "length": stretch.length,
        "scored": [stretch.end - sizes.scored, stretch.end],
        "nll": scored.nll,
        "tree_keys": scored.tree_keys,
        "tree_of": scored.tree_of,
    }


LENGTHS = (4096, 16384, 32768, 131072)


@dataclass(frozen=True)
class Request:
    """Which tokens are scored, and by which arms. Without `out` nothing is written.

    `streaming_window` None: as many tokens as the other arms read as plain text. `trees`: where trees are kept.
    """

    texts: tuple[DataFile, ...]
    lengths: tuple[int, ...] = LENGTHS
    arms: tuple[str, ...] = tuple(ARMS)
    ends: int = 3
    sizes: Sizes = field(default_factory=Sizes)
    streaming_window: int | None = None
    seed: int = 0
    last: int | None = None
    adapter: bool = True
    out: Path | None = None
    trees: Path | None = None
    resume: bool = False
    skip_bad_lines: bool = False

    def __post_init__(self) -> None:
        if not self.texts:
            raise UsageError("there is nothing to read", hint="give one or more files with --text")
        check_named("arm", "--arms", self.arms, ARMS)
        if not self.lengths or len(set(self.lengths)) < len(self.lengths):
            raise UsageError("--lengths names no length, or one twice")
        if min(self.sizes.recent, self.sizes.scored, self.ends) < 1:
            raise UsageError("--recent, --scored and --ends must be at least 1")
        if min(self.lengths) <= self.sizes.plain:
            raise UsageError(
                f"a stretch of {min(self.lengths):,} tokens has nothing before its last {self.sizes.plain:,}, which all"
                " arms read as plain text",
                hint="choose longer --lengths, or a smaller --recent",
            )

    @property
    def window(self) -> int:
        """Tokens that the streaming arm sees beside its sinks."""
        return self.streaming_window or self.sizes.plain


def perplexity(request: Request, settings: Settings, *, home: Path, reporter: Reporter) -> dict[str, Any]:
    """Score every stretch by every arm and compare; returns the object of `eval ppl --json`.

    Raises DocumentError for a text that can't be read, UsageError for an invalid request or leaves nothing
    to measure, ModelError for a model that can't be had, ResourceError where trees don't fit memory or disk.
    """
    if not request.adapter:
        settings = replace(settings, adapter=UNTRAINED)
    texts = read_texts(request.texts, last=request.last, skip_bad_lines=request.skip_bad_lines, reporter=reporter)
    shared = load_shared(settings, home, reporter)
    _check_window(request, shared)
    books = tokenized(texts, shared.base.tokenizer, reporter)
    planned = plan(
        books,
        sorted(request.lengths),
        ends=request.ends,
        sizes=request.sizes,
        chunk_tokens=shared.tree.chunk_tokens,
        seed=request.seed,
    )
    _tell_of_skipped(planned, books, request.ends, reporter)
    missing = left_out(request.arms, planned.stretches, books, shared, request.sizes)
    _tell_of_left_out(request.arms, planned, missing, reporter)
    run = Run(request.out, _config(request, settings, shared), resume=request.resume)
    store = None if request.trees is None else IndexStore(request.trees, reporter)
    trees = StretchTrees(shared, settings, store, reporter)
    reader = StretchReader(books, shared, request.sizes, trees, request.window)
    arms = [ARMS[name] for name in request.arms]
    work = [(arm, one) for _, some in planned.by_book() for one in some for arm in arms]
    work = [(arm, one) for arm, one in work if (one.length, arm.name) not in missing]
    with reporter.task("Reading", sum(arm.cost(one, request.sizes) for arm, one in work), "tokens") as task:
        _score(run, reader, work, task)
    found = _metrics(run, books, planned, arms, missing, request)
    run.finish(found)
    return found


def _check_window(request: Request, shared: SharedModel) -> None:
    """UsageError where the plain text, or sinks and sliding window, don't fit the model: known before hours of work."""
    if request.sizes.plain > shared.base.window:
        raise UsageError(
            f"--recent and --scored take {request.sizes.plain:,} tokens, more than the model's window of"
            f" {shared.base.window:,}"
        )
    if "streaming" in request.arms:
        StreamingReader(shared.upper, window=request.window)


def _config(request: Request, settings: Settings, shared: SharedModel) -> dict[str, Any]:
    """Everything that shapes the numbers."""
    return {
        "command": "eval ppl",
        "arms": list(request.arms),
        "lengths": sorted(request.lengths),
        "sizes": asdict(request.sizes),
        "streaming": {"sinks": SINKS, "window": request.window},
        "data": data_facts(request.texts, last=request.last, ends=request.ends, seed=request.seed),
        "model": model_facts(shared, settings),
        "settings": {"stored_dtype": settings.stored_dtype},
        **program_facts(),
    }


def _tell_of_skipped(planned: Plan, books: Sequence[Book], ends: int, reporter: Reporter) -> None:
    for skipped in planned.skipped:
        reporter.warn(f"{skipped.text} has {skipped.tokens:,} tokens, too few for a stretch of {skipped.length:,}")
    for book, count in zip(books, planned.ends, strict=True):
        if 0 < count < ends:
            reporter.note(f"{book.name} has room for {count} of {ends} ends whose scored tokens don't overlap")


def _tell_of_left_out(
    names: Sequence[str], planned: Plan, missing: Mapping[tuple[int, str], str], reporter: Reporter
) -> None:
    """Warn of what can't be measured; UsageError where nothing can."""
    lengths = sorted({stretch.length for stretch in planned.stretches})
    for name in names:
        for reason in sorted({reason for (_, arm), reason in missing.items() if arm == name}):
            where = [length for length in lengths if missing.get((length, name)) == reason]
            at = "" if where == lengths else f" at {', '.join(f'{length:,}' for length in where)} tokens"
            reporter.warn(f"the arm {name} is left out{at}: {reason}")
    if len(missing) == len(names) * len(lengths):
        raise UsageError("no arm is left to be measured", hint=f"choose others of {', '.join(ARMS)}")


def _score(run: Run, reader: StretchReader, work: Sequence[tuple[Arm, Stretch]], task: Task) -> None:
    """Do what is not done yet. A book's stretches follow each other, so that they share its chunks."""
    current = -1
    for arm, stretch in work:
        key = _key(arm.name, reader.books[stretch.book], stretch)
        if key in run:
            task.advance(arm.cost(stretch, reader.sizes))
            continue
        if stretch.book != current:
            current = stretch.book
            reader.trees.forget({current})
        scored = arm.read(reader, stretch, task.advance)
        run.add(key, line(arm, reader.books[stretch.book], stretch, scored, reader.sizes))


def _key(arm: str, book: Book, stretch: Stretch) -> str:
    return f"{arm} {stretch.length} {stretch.end} {book.place} {book.name}"


def _metrics(
    run: Run,
    books: Sequence[Book],
    planned: Plan,
    arms: Sequence[Arm],
    missing: Mapping[tuple[int, str], str],
    request: Request,
) -> dict[str, Any]:
    lengths = {}
    for length in sorted({stretch.length for stretch in planned.stretches}):
        stretches = [stretch for stretch in planned.stretches if stretch.length == length]
        measured = [arm.name for arm in arms if (length, arm.name) not in missing]
        nll = {
            name: [run[_key(name, books[one.book], one)]["nll"] / request.sizes.scored for one in stretches]
            for name in measured
        }
        found: dict[str, Any] = {arm.name: None for arm in arms}
        found |= _of_length(nll, request.seed)
        lengths[str(length)] = {
            **found,
            "n_tokens": len(stretches) * request.sizes.scored,
            "n_stretches": len(stretches),
            "n_texts": len({stretch.book for stretch in stretches}),
            "left_out": {arm.name: missing[length, arm.name] for arm in arms if (length, arm.name) in missing},
        }
    return {"lengths": lengths, "skipped": [asdict(skipped) for skipped in planned.skipped], "texts": len(books)}


def _of_length(nll: Mapping[str, Sequence[float]], seed: int) -> dict[str, Any]:
    """Perplexity of every arm, nats a token with their intervals, and the differences between arms."""
    found: dict[str, Any] = {}
    told: dict[str, Any] = {}
    for name, values in nll.items():
        estimate = metrics.estimate(values, seed=seed)
        assert estimate is not None
        found[name] = math.exp(estimate.mean)
        told[name] = _interval(estimate)
    found["nll"] = told
    found["differences"] = list(_differences(nll, seed))
    return found


def _differences(nll: Mapping[str, Sequence[float]], seed: int) -> Iterator[dict[str, Any]]:
    """What an arm has more than another, in nats a token, over the same stretches redrawn in pairs."""
    for other, one in combinations(nll, 2):
        made = metrics.difference(nll[one], nll[other], seed=seed)
        assert made is not None
        yield {"arm": one, "against": other, **_interval(made)}


def _interval(estimate: Estimate) -> dict[str, Any]:
    """As JSON; a single stretch says nothing about how others would do, so it has no interval."""
    told = interval_json(estimate)
    assert told is not None
    return told if estimate.n > 1 else {**told, "interval": None}
