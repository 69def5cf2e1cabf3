"""`eval ppl`: every arm scores the same tokens, alone differing by what it reads of all that came before."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sharedllm_cli.cli.app import run
from sharedllm_cli.cli.terminal.console import Console
from sharedllm_cli.config import Settings
from sharedllm_cli.errors import DocumentError, UsageError
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.evaluation import perplexity as perplexity_module
from sharedllm_cli.lab.evaluation.perplexity import ARMS, Request, StretchReader, perplexity
from sharedllm_cli.lab.evaluation.perplexity_stretches import (
    Book,
    Sizes,
    Stretch,
    StretchTrees,
    preserved,
    stretch_document,
)
from sharedllm_cli.lab.evaluation.perplexity_stretches import tokenized as tokenized_books
from sharedllm_cli.lab.evaluation.runner import CONFIG, METRICS, PREDICTIONS
from sharedllm_cli.lab.training.records import DataFile
from sharedllm_cli.model.shared import SharedModel, load_shared
from sharedllm_cli.progress import Silent

SIZES = Sizes(48, 16)
CHUNK = 32


def prose(seed: int, words: int) -> str:
    random = np.random.default_rng(seed)
    known = ["the", "lamp", "was", "lit", "by", "a", "keeper", "of", "rock", "and", "tide", "fog", "wind", "sailor"]
    return " ".join(known[place] for place in random.integers(len(known), size=words)) + "."


@pytest.fixture(scope="module")
def texts() -> list[tuple[str, str]]:
    return [("one", prose(1, 300)), ("two", prose(2, 260)), ("short", prose(3, 12))]


@pytest.fixture
def files(texts: list[tuple[str, str]], tmp_path: Path) -> tuple[DataFile, ...]:
    records = [{"doc_id": name, "document": text} for name, text in texts[1:]]
    (tmp_path / "books.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    (tmp_path / "one.txt").write_text(texts[0][1], encoding="utf-8")
    return DataFile(tmp_path / "one.txt"), DataFile(tmp_path / "books.jsonl")


@pytest.fixture
def small(settings: Settings) -> Settings:
    return replace(settings, chunk_tokens=CHUNK, tree_height=2, ratios="4,2", stored_dtype="float32")


def opened_gates(shared: SharedModel) -> SharedModel:
    """The same model with random gates and query weights, so that the tree is read."""
    with torch.no_grad():
        for name, parameter in shared.adapter.named_parameters():
            if name.endswith("gate"):
                parameter.fill_(0.7)
    assert shared.upper.reads_tree
    return shared


@pytest.fixture
def reading(small: Settings, private_home: Path) -> SharedModel:
    return opened_gates(load_shared(small, private_home, Silent()))


@pytest.fixture
def with_open_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's model reads the tree."""
    original = load_shared
    monkeypatch.setattr(perplexity_module, "load_shared", lambda *arguments: opened_gates(original(*arguments)))


def reader_of(
    shared: SharedModel, settings: Settings, books: list[Book], *, store: IndexStore | None = None, window: int = 64
) -> StretchReader:
    return StretchReader(books, shared, SIZES, StretchTrees(shared, settings, store, Silent()), window)


def ignore(tokens: int) -> None:
    return None


def request_of(files: tuple[DataFile, ...], **changes: Any) -> Request:
    values: dict[str, Any] = {"lengths": (128, 512), "ends": 2, "sizes": SIZES}
    return Request(files, **(values | changes))


# -- which tokens -----------------------------------------------------------------------------------------------------


def test_streaming_within_its_window_and_full_are_the_plain_model(
    reading: SharedModel, small: Settings, texts: list[tuple[str, str]]
) -> None:
    books = tokenized_books(texts, reading.base.tokenizer, Silent())
    stretch = Stretch(0, 200, 700)
    ids = torch.from_numpy(books[0].tokens.ids[500:700]).long()
    with torch.no_grad():
        logits = reading.base.model(ids[None]).logits[0]
        losses = torch.nn.functional.cross_entropy(logits[-17:-1], ids[-16:], reduction="sum")
        short = reading.base.model(ids[None, -64:]).logits[0]
        alone = torch.nn.functional.cross_entropy(short[-17:-1], ids[-16:], reduction="sum")
    wide = reader_of(reading, small, books, window=195)
    assert wide.full(stretch, ignore).nll == pytest.approx(float(losses), abs=1e-3)
    assert wide.streaming(stretch, ignore).nll == pytest.approx(float(losses), abs=1e-3)
    assert wide.window(stretch, ignore).nll == pytest.approx(float(alone), abs=1e-3)
    narrow = reader_of(reading, small, books, window=60).streaming(stretch, ignore).nll
    assert abs(narrow - float(losses)) > 1e-2
    assert abs(narrow - float(alone)) > 1e-2


def test_the_tree_is_all_that_came_before_and_nothing_of_the_plain_text(
    reading: SharedModel, small: Settings, texts: list[tuple[str, str]]
) -> None:
    books = tokenized_books(texts, reading.base.tokenizer, Silent())
    told: list[int] = []
    tree = StretchTrees(reading, small, None, Silent()).read(books[0], 100, 100 + 3 * CHUNK + 7, told.append)
    assert sum(told) == 3 * CHUNK + 7
    # A chunk of 32 keeps 16 / 4 + 2 · 8 / 2; the last one of 7 tokens keeps 3 / 4 + 2 + 2 / 2.
    assert tree.keys == 3 * (4 + 8) + 1 + 1 + 1
    stretch = Stretch(0, SIZES.plain + 3 * CHUNK, 900)
    changed = [*books]
    ids = books[0].tokens.ids.copy()
    before = 900 - SIZES.plain - 3 * CHUNK
    ids[before - 40 : before] = 65  # outside the stretch
    changed[0] = replace(books[0], tokens=replace(books[0].tokens, ids=ids))
    kept = reader_of(reading, small, books).tree(stretch, ignore)
    assert reader_of(reading, small, changed).tree(stretch, ignore) == kept
    ids[before] = 66  # the first token inside
    ids[before + CHUNK - 1] = 66
    assert reader_of(reading, small, changed).tree(stretch, ignore).nll != kept.nll


def test_a_text_is_read_with_the_adapters_own_bias_for_texts(
    reading: SharedModel, small: Settings, texts: list[tuple[str, str]]
) -> None:
    books = tokenized_books(texts, reading.base.tokenizer, Silent())
    stretch = Stretch(0, 500, 900)
    plain = reader_of(reading, small, books)
    window, tree, wrong = plain.window(stretch, ignore), plain.tree(stretch, ignore), plain.tree_wrong(stretch, ignore)
    reading.adapter.config = replace(reading.adapter.config, text_bias=-2.0)
    biased = reader_of(reading, small, books)
    assert biased.window(stretch, ignore) == window
    less = biased.tree(stretch, ignore)
    assert less.nll != tree.nll
    assert biased.tree_wrong(stretch, ignore).nll != wrong.nll, "the control is read alike"
    reading.adapter.config = replace(reading.adapter.config, text_bias=None)
    with torch.no_grad():
        for injection in reading.adapter.injections.values():
            injection.gate.sub_(2.0 + math.log(less.tree_keys / 512))  # type: ignore[union-attr, operator]
    assert reader_of(reading, small, books).tree(stretch, ignore).nll == pytest.approx(less.nll, rel=1e-6)


def alike(found: list[Any], expected: list[Any]) -> None:
    """Equal but for rounding: chunks that are known already are not encoded in one batch with the others."""
    for one, other in zip(found, expected, strict=True):
        assert replace(one, nll=0.0) == replace(other, nll=0.0)
        assert one.nll == pytest.approx(other.nll, rel=1e-6)


def test_trees_live_or_from_an_index_are_the_same_and_known_chunks_too(
    reading: SharedModel, small: Settings, texts: list[tuple[str, str]], tmp_path: Path
) -> None:
    for dtype in ("float32", "int8"):
        settings = replace(small, stored_dtype=dtype)
        books = tokenized_books(texts, reading.base.tokenizer, Silent())
        stretches = [Stretch(0, 128, 900), Stretch(0, 500, 900), Stretch(0, 128, 900 - CHUNK)]
        live = reader_of(reading, settings, books)
        fresh = [reader_of(reading, settings, books).tree(one, ignore) for one in stretches]
        stored = reader_of(reading, settings, books, store=IndexStore(tmp_path / dtype))
        for reader in (live, stored):
            alike([reader.tree(one, ignore) for one in stretches], fresh)
        alike([stored.tree_wrong(stretches[0], ignore)], [live.tree_wrong(stretches[0], ignore)])
        assert stored.tree_wrong(stretches[0], ignore).nll != fresh[0].nll


def test_right_preserves_what_is_nearest_at_the_finest_grain(
    reading: SharedModel, texts: list[tuple[str, str]]
) -> None:
    books = tokenized_books(texts, reading.base.tokenizer, Silent())
    opened = stretch_document(books[1], 10, 10 + 2 * CHUNK, "tokenizer", reading.tree)
    assert opened.leaves.tokens.ids.tolist() == books[1].tokens.ids[10 : 10 + 2 * CHUNK].tolist()
    kept = [tuple(node) for node in preserved(opened.leaves)]
    assert kept == [
        (0, 1, 0),
        (0, 2, 2),
        (0, 2, 3),
        (1, 1, 0),
        (1, 2, 2),
        (1, 2, 3),
    ]


# -- the run ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("with_open_gates")
def test_every_arm_scores_the_same_tokens(files: tuple[DataFile, ...], small: Settings, tmp_path: Path) -> None:
    reporter = Silent()
    request = request_of(files, out=tmp_path / "run")
    found = perplexity(request, small, home=tmp_path, reporter=reporter)
    lines = [json.loads(line) for line in (tmp_path / "run" / PREDICTIONS).read_text().splitlines()]
    scored: dict[tuple[str, int], set[Any]] = {}
    for one in lines:
        scored.setdefault((one["arm"], one["length"]), set()).add((one["text"], *one["scored"]))
    for length in (128, 512):
        assert len({frozenset(scored[name, length]) for name in ARMS}) == 1
        of = found["lengths"][str(length)]
        assert (of["n_tokens"], of["n_stretches"], of["n_texts"]) == (4 * 16, 4, 2)
        for name in ARMS:
            sums = [one["nll"] for one in lines if (one["arm"], one["length"]) == (name, length)]
            assert of[name] == pytest.approx(math.exp(sum(sums) / (4 * 16)))
            assert of["nll"][name]["interval"][0] <= of["nll"][name]["mean"] <= of["nll"][name]["interval"][1]
    assert scored["window", 128] == scored["window", 512], "the same tokens at every length"
    assert found["lengths"]["128"]["window"] == found["lengths"]["512"]["window"]
    assert found["lengths"]["128"]["sharedllm"] != found["lengths"]["512"]["sharedllm"]
    (apart,) = [
        one
        for one in found["lengths"]["512"]["differences"]
        if (one["arm"], one["against"]) == ("sharedllm", "streaming")
    ]
    nll = found["lengths"]["512"]["nll"]
    assert apart["mean"] == pytest.approx(nll["sharedllm"]["mean"] - nll["streaming"]["mean"])
    assert (apart["n"], len(apart["interval"])) == (4, 2)
    skipped = [(one["text"], one["length"]) for one in found["skipped"]]
    assert skipped == [("books.jsonl:2", 128), ("books.jsonl:2", 512)]
    assert any("books.jsonl:2 has" in text for text in reporter.warnings), "never silently"
    assert found == json.loads((tmp_path / "run" / METRICS).read_text())


@pytest.mark.usefixtures("with_open_gates")
def test_a_resumed_run_is_an_uninterrupted_one(files: tuple[DataFile, ...], small: Settings, tmp_path: Path) -> None:
    whole = perplexity(request_of(files, out=tmp_path / "a"), small, home=tmp_path, reporter=Silent())
    assert perplexity(request_of(files), small, home=tmp_path, reporter=Silent()) == whole, "nothing has to be written"
    folder = tmp_path / "b"
    perplexity(request_of(files, out=folder), small, home=tmp_path, reporter=Silent())
    lines = (folder / PREDICTIONS).read_text().splitlines(keepends=True)
    (folder / PREDICTIONS).write_text("".join(lines[:5]) + lines[5][:20], encoding="utf-8")
    (folder / METRICS).unlink()
    with pytest.raises(UsageError, match="holds a run already"):
        perplexity(request_of(files, out=folder), small, home=tmp_path, reporter=Silent())
    other = request_of(files, out=folder, resume=True, sizes=Sizes(47, 16))
    with pytest.raises(UsageError, match="another sizes recent"):
        perplexity(other, small, home=tmp_path, reporter=Silent())
    assert perplexity(request_of(files, out=folder, resume=True), small, home=tmp_path, reporter=Silent()) == whole
    assert (folder / PREDICTIONS).read_text().splitlines(keepends=True)[5:] == lines[5:]
    assert json.loads((folder / CONFIG).read_text())["streaming"] == {"sinks": 4, "window": 64}


def test_what_can_not_be_measured_is_left_out_with_the_reason(
    files: tuple[DataFile, ...], small: Settings, tmp_path: Path
) -> None:
    reporter = Silent()
    short = replace(small, model=str(small.model))
    found = perplexity(request_of(files), short, home=tmp_path, reporter=reporter)
    of = found["lengths"]["512"]
    assert (of["sharedllm"], of["tree-wrong"]) == (None, None)
    assert "reads no tree" in of["left_out"]["sharedllm"]
    assert any("the arm sharedllm is left out: the adapter reads no tree" in text for text in reporter.warnings)
    assert of["window"] > 1
    assert of["streaming"] > 1
    with pytest.raises(UsageError, match="no arm is left"):
        perplexity(request_of(files, arms=("sharedllm",)), short, home=tmp_path, reporter=Silent())


@pytest.mark.usefixtures("with_open_gates")
def test_full_only_where_it_fits_and_a_wrong_tree_only_where_there_is_one(
    model_folder: Any, files: tuple[DataFile, ...], small: Settings, tmp_path: Path
) -> None:
    narrow = replace(small, model=str(model_folder("llama", max_position_embeddings=400)))
    reporter = Silent()
    found = perplexity(request_of(files[:1]), narrow, home=tmp_path, reporter=reporter)
    assert found["lengths"]["128"]["full"] > 1
    assert found["lengths"]["512"]["full"] is None
    assert found["lengths"]["512"]["left_out"]["full"] == "it does not fit the model's window of 400 tokens"
    assert any("the arm full is left out at 512 tokens" in text for text in reporter.warnings)
    assert found["lengths"]["128"]["left_out"] == {
        "tree-wrong": "the other texts together are too short for a tree of as many tokens"
    }
    one = perplexity(request_of(files[:1], ends=1), narrow, home=tmp_path, reporter=Silent())
    assert one["lengths"]["128"]["nll"]["window"]["interval"] is None, "one stretch tells nothing of others"
    wide = request_of(files, sizes=Sizes(390, 16), lengths=(512,))
    with pytest.raises(UsageError, match="more than the model's window of 400"):
        perplexity(wide, narrow, home=tmp_path, reporter=Silent())
    with pytest.raises(UsageError, match="positions, but the model knows 400"):
        perplexity(request_of(files, streaming_window=390), narrow, home=tmp_path, reporter=Silent())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"texts": ()}, "nothing to read"),
        ({"arms": ()}, "no arm"),
        ({"arms": ("window", "window")}, "one twice"),
        ({"arms": ("closed",)}, "unknown arm 'closed'"),
        ({"lengths": ()}, "no length"),
        ({"lengths": (64, 128)}, "nothing before its last 64"),
        ({"ends": 0}, "at least 1"),
        ({"sizes": Sizes(0, 16)}, "at least 1"),
    ],
)
def test_a_request_that_can_not_be_meant(files: tuple[DataFile, ...], changes: dict[str, Any], words: str) -> None:
    values: dict[str, Any] = {"texts": files, "lengths": (128,), "sizes": SIZES}
    with pytest.raises(UsageError, match=words):
        Request(**(values | changes))


def test_missing_and_too_short_texts(files: tuple[DataFile, ...], small: Settings, tmp_path: Path) -> None:
    missing = request_of((DataFile(tmp_path / "missing.jsonl"),))
    with pytest.raises(DocumentError, match="no data file"):
        perplexity(missing, small, home=tmp_path, reporter=Silent())
    with pytest.raises(UsageError, match="the longest text has"):
        perplexity(request_of(files[1:], last=1, lengths=(4096,)), small, home=tmp_path, reporter=Silent())


# -- the command ------------------------------------------------------------------------------------------------------


def call(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = run(["eval", "ppl", *arguments], Console(out, err))
    return code, out.getvalue(), err.getvalue()


@pytest.mark.usefixtures("with_open_gates")
def test_the_command_prints_one_object_or_a_table(files: tuple[DataFile, ...], small: Settings) -> None:
    flags = [word for file in files for word in ("--text", str(file.path))]
    flags += ["--model", small.model, "--device", "cpu", "--lower-layers", "2", "--chunk-tokens", "32"]
    flags += ["--lengths", "128,512", "--recent", "48", "--scored", "16", "--ends", "2"]
    code, out, err = call(*flags, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert list(told["lengths"]) == ["128", "512"]
    code, out, err = call(*flags, "--arms", "window,streaming,sharedllm")
    assert code == 0, err
    rows = [line.split() for line in out.splitlines() if line.split()[:1] in (["128"], ["512"])]
    assert [row[1] for row in rows] == ["window", "streaming", "sharedllm"] * 2
    for row in rows:
        of = told["lengths"][row[0]]
        assert row[3] == f"{of[row[1]]:.2f}"
        mean = of["nll"][row[1]]["mean"] - of["nll"]["streaming"]["mean"]
        assert row[5] == ("–" if row[1] == "streaming" else f"{mean:+.4f}")


def test_every_flag_arrives(files: tuple[DataFile, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def keep(request: Any, settings: Any, **others: Any) -> Any:
        seen.append((request, settings))
        return {"lengths": {}}

    monkeypatch.setattr(perplexity_module, "perplexity", keep)
    flags = ["--text", "a.txt", "--text", "b.jsonl.xz", "--lengths", "900, 800", "--arms", "full, window", "--recent"]
    flags += ["5", "--scored", "6", "--streaming-window", "7", "--ends", "8", "--seed", "9", "--last", "10", "--out"]
    flags += ["folder", "--trees", "there", "--resume", "--skip-bad-lines", "--no-adapter", "--chunk-tokens", "64"]
    code, _, err = call(*flags)
    assert code == 0, err
    ((request, settings),) = seen
    assert [str(file.path) for file in request.texts] == ["a.txt", "b.jsonl.xz"]
    assert (request.lengths, request.arms, request.sizes) == ((900, 800), ("full", "window"), Sizes(5, 6))
    assert (request.streaming_window, request.window, request.ends, request.seed, request.last) == (7, 7, 8, 9, 10)
    assert (request.out, request.trees, request.resume) == (Path("folder"), Path("there"), True)
    assert (request.skip_bad_lines, request.adapter, settings.chunk_tokens) == (True, False, 64)


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--text", "missing.txt"], 3, "missing.txt"),
        (["--text", "missing.txt", "--lengths", "many"], 2, "--lengths must be whole numbers"),
        (["--text", "missing.txt", "--lengths", "2000"], 2, "has nothing before its last 2,560"),
        ([], 2, "--text"),
    ],
)
def test_a_mistake_is_one_line_and_its_exit_code(flags: list[str], code: int, words: str) -> None:
    found, out, err = call(*flags)
    assert (found, out) == (code, "")
    assert words in err
    assert "Traceback" not in err
