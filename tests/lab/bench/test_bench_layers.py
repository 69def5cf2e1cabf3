"""Which layers read the tree, and whether nodes or whole chunks are encoded: what is run, stored, counted and told."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sharedllm_cli.cli.app import run as command
from sharedllm_cli.cli.terminal.console import Console
from sharedllm_cli.config import Encoding, Settings, TreeConfig
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.bench.counts import Extent, TreeCost, Work
from sharedllm_cli.lab.bench.subject import Reading, Subject, describe_subject, make_reading
from sharedllm_cli.lab.bench.timing import Clock
from sharedllm_cli.lab.bench.tree_arm import SharedLLM
from sharedllm_cli.model.adapter_config import adapter_config
from sharedllm_cli.model.lower import EncodedNodes, LowerModel
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.progress import Silent

LAYERS = range(1, 3)
PAGE = Path(__file__).parents[3] / "docs" / "results.md"
SMALL = ("--lengths", "200", "--running-tokens", "16", "--new-tokens", "2", "--repeats", "1", "--no-memory")


def clock() -> Clock:
    return Clock(lambda: None)


def encoded_as(subject: Subject, encoding: Encoding) -> Subject:
    return replace(subject, tree=replace(subject.tree, encoding=encoding))


def arm_of(subject: Subject, folder: Path, encoding: Encoding, **options: Any) -> SharedLLM:
    return SharedLLM(encoded_as(subject, encoding), LAYERS, IndexStore(folder, Silent()), **options)


def text_of(subject: Subject, encoding: Encoding) -> Reading:
    """Four chunks of 64 tokens and one of 44."""
    return make_reading(encoded_as(subject, encoding), 300, 24, None)


# -- counted by hand --------------------------------------------------------------------------------------------------

# `tiny`: 4 layers, 64 hidden, 4 heads and 2 key/value heads of 16, an MLP of 128, 512 words, numbers of 4 bytes. So a
# layer has P = 2·64·64 + 2·64·32 + 3·64·128 = 36,864 weights, a pair of query and key costs 4·4·16 = 256 operations,
# a position's key and value are 64 numbers. Two chunks of 64 tokens: a path down preserves nodes of 32, 16, 8 and 8
# tokens that keep 2 each; an index holds 2, 4 and 8 nodes of these lengths. M = 3, of which two layers read.
EXTENT = Extent(128, 24)
SCORED = Work(2 * 12288 * 128, 0)  # the attention of a layer: 2 · 64 · (64 + 32) of its 36,864 weights
READ = Work(2 * 36864 * 4 * 24 + 256 * (4 * 300 + 2 * 24 * 16) + 2 * 512 * 64, 720_896 + (2 * 16 + 4 * 24) * 64 * 4)
COLD = {
    "node": Work(2 * (2 * 36864 * 128 + 256 * 2 * (528 + 136 + 36 + 36)) + 2 * 64 * 64 * 16, 294_912 + 8_192),
    "chunk": Work(2 * (2 * 36864 * 128 + 256 * 2 * 2080) + 2 * 64 * 64 * 16, 294_912 + 8_192),
}
INDEX = {
    "node": Work(2 * (2 * 36864 * 384 + 256 * 2 * 1888) + 2 * 64 * 64 * 56, 294_912 + 56 * 64 * 2 * 4),
    "chunk": Work(2 * (2 * 36864 * 128 + 256 * 2 * 2080) + 2 * 64 * 64 * 32, 294_912 + 32 * 64 * 2 * 4),
}
VECTORS = {"node": Work(0, 0), "chunk": Work(2 * (36864 - 2 * 64 * 32) * 28 + 256 * 384, 0)}
ON_DISK = 56 * 2 * 2 * 2 * (16 + 2) + 28 * (2 * 4 + 2 * 64)


@pytest.mark.parametrize("encoding", ["node", "chunk"])
def test_the_lower_model_is_counted_by_m_and_the_tree_by_the_layers_that_read(
    subject: Subject, tmp_path: Path, encoding: Encoding
) -> None:
    arm = arm_of(subject, tmp_path, encoding)
    assert arm.variant == "M=1-3"
    assert arm.cold_steps(EXTENT) == [SCORED, COLD[encoding], READ]
    assert arm.indexed_steps(EXTENT) == [SCORED, Work(0, 16 * 2 * 2 * 2 * (16 + 2) + 8_192), READ]
    assert arm.index_steps(EXTENT) == [INDEX[encoding], VECTORS[encoding], Work(0, ON_DISK)]
    assert arm.token_step(EXTENT).operations == 2 * 36864 * 4 + 256 * (2 * 16 + 4 * 24) + 2 * 512 * 64
    assert arm.tree_bytes(EXTENT) == 16 * 2 * 64 * 4
    assert arm.index_bytes(EXTENT) == ON_DISK


def test_only_what_is_stored_and_read_shrinks_with_the_first_layer(subject: Subject, tmp_path: Path) -> None:
    store = IndexStore(tmp_path, Silent())
    upper, all_three = (SharedLLM(subject, layers, store) for layers in (LAYERS, range(3)))
    assert all_three.variant == "M=3"
    for steps in ("cold_steps", "index_steps"):
        narrow, wide = getattr(upper, steps)(EXTENT), getattr(all_three, steps)(EXTENT)
        encoded = 0 if steps == "index_steps" else 1
        assert narrow[encoded].operations == wide[encoded].operations
        assert narrow[encoded].bytes < wide[encoded].bytes
    assert all_three.memory_bytes(EXTENT) - upper.memory_bytes(EXTENT) == 16 * 64 * 4
    assert all_three.index_bytes(EXTENT) - upper.index_bytes(EXTENT) == 56 * 2 * 2 * (16 + 2)
    tokens = [arm.token_step(EXTENT).operations for arm in (all_three, upper)]
    assert tokens[0] - tokens[1] == 256 * 16


def test_a_chunk_that_runs_in_one_piece_may_be_longer_than_a_batch(subject: Subject, tmp_path: Path) -> None:
    long = replace(subject, tree=TreeConfig(2048))
    store, extent = IndexStore(tmp_path, Silent()), Extent(4096, 24)
    node, chunk = (SharedLLM(encoded_as(long, how), LAYERS, store) for how in ("node", "chunk"))
    working = 4 * (3 * 128 + 6 * 64)  # bytes a token: inner states and hidden ones
    assert chunk.memory_bytes(extent) - node.memory_bytes(extent) == (2048 - 1024) * working


# -- what is run is what is counted -----------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["node", "chunk"])
def test_as_much_is_encoded_as_is_counted(
    subject: Subject, tmp_path: Path, encoding: Encoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read cold, the preserved nodes of whole chunks cost each chunk once; an index all levels, or each chunk once."""
    run: list[tuple[int, int]] = []
    encode = LowerModel.encode

    def noted(lower: LowerModel, token_ids: Tensor, kept: Tensor) -> EncodedNodes:
        rows, length = token_ids.shape
        run.append((rows * length, rows * length * (length + 1) // 2))
        found = encode(lower, token_ids, kept)
        assert (lower.lower_layers, found.keys.shape[1]) == (3, 2)
        return found

    monkeypatch.setattr(LowerModel, "encode", noted)
    arm, text = arm_of(subject, tmp_path, encoding), text_of(subject, encoding)
    cost = TreeCost(300, replace(subject.tree, encoding=encoding))
    with arm.installed():
        for read, every in ((arm.cold, False), (arm.build, True)):
            run.clear()
            read(text, clock())
            tokens, pairs = (sum(numbers) for numbers in zip(*run, strict=True))
            assert (tokens, pairs) == (cost.encoded(every=every), cost.pairs(every=every))
    assert cost.encoded(every=True) == (300 if encoding == "chunk" else 3 * 300)


@pytest.mark.parametrize("encoding", ["node", "chunk"])
def test_an_index_of_a_range_gives_what_encoding_at_once_gives_and_takes_what_was_counted(
    subject: Subject, tmp_path: Path, encoding: Encoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same numbers, but for what a batch's size rounds, and no layer below the first of the range reads."""
    read: list[Any] = []
    decode_step = UpperModel.decode_step

    def noted(upper: UpperModel, token_ids: Tensor, tree: Any, cache: Any, **others: Any) -> Tensor:
        read.append((tree.keys, tree.values))
        return decode_step(upper, token_ids, tree, cache, **others)

    monkeypatch.setattr(UpperModel, "decode_step", noted)
    arm, text = arm_of(subject, tmp_path, encoding, stored_dtype="float32"), text_of(subject, encoding)
    with arm.installed():
        tokens = [arm.cold(text, clock()).token]
        arm.build(text, clock())
        tokens.append(arm.indexed(text, clock()).token)
    assert tokens[0] == tokens[1]
    (cold_keys, cold_values), (keys, values) = read
    assert list(keys) == list(cold_keys) == [1, 2]
    kept = TreeCost(300, replace(subject.tree, encoding=encoding)).kept()
    for layer in LAYERS:
        assert keys[layer].shape[2] == kept
        torch.testing.assert_close(keys[layer], cold_keys[layer], rtol=0, atol=1e-6)
        torch.testing.assert_close(values[layer], cold_values[layer], rtol=0, atol=1e-6)
    shards = list(tmp_path.rglob("keys-values-*.safetensors"))
    on_disk = sum(shard.stat().st_size for shard in shards)
    assert 0 < on_disk - arm.index_bytes(Extent(300, 24)) < 1000 * len(shards), "but for the headers"


def test_read_cold_a_preserved_node_has_the_slots_of_its_own_run_or_of_its_chunk_s(
    subject: Subject, tmp_path: Path
) -> None:
    """Against the lower model over each node, and over each chunk, at the node's own kept positions."""
    found = []
    for encoding in ("node", "chunk"):
        arm, text = arm_of(subject, tmp_path, encoding), text_of(subject, encoding)
        leaves, expected = text.leaves, []
        with arm.installed():
            live = arm._live(text)
            nodes = arm._search(text, live, clock())
            found.append(live.compressed(nodes))
            for node in nodes:
                tree, start = leaves.trees[node.chunk], leaves.chunk_starts[node.chunk]
                span, kept = tree.span(node.level, node.index), tree.kept(node.level, node.index)
                first, end = (0, tree.length) if encoding == "chunk" else span
                ids = torch.from_numpy(leaves.tokens.ids[start + first : start + end]).long()
                places = torch.from_numpy(kept + span.start - first)
                expected.append(arm.lower.encode(ids[None], places))
        for name in ("keys", "values"):
            whole = torch.cat([getattr(one, name)[0] for one in expected], dim=2)
            torch.testing.assert_close(getattr(found[-1], name), whole, rtol=0, atol=1e-5)
    assert found[0].keys.shape == found[1].keys.shape
    assert not torch.allclose(found[0].values, found[1].values), "a node's later tokens see the chunk before it"


# -- who chooses ------------------------------------------------------------------------------------------------------


def test_without_other_layers_those_of_the_adapter_read() -> None:
    settings = Settings(device="cpu")
    shipped = adapter_config(settings, settings.model)
    assert shipped is not None
    subject = describe_subject(None, settings, Path("nowhere"))
    assert subject.layers == shipped.injection.layers
    assert subject.tree == shipped.tree
    assert describe_subject("tiny", settings, Path("nowhere")).layers == range(2)


def call(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    line = ["bench", "--random-weights", "tiny", "--chunk-tokens", "64", "--device", "cpu", *arguments]
    code = command(line, Console(out, err))
    return code, out.getvalue(), err.getvalue()


def test_a_run_with_a_range_and_chunks_encoded_once() -> None:
    layers = ("--lower-layers", "3,1-3,0-3", "--encoding", "chunk")
    code, out, err = call(*SMALL, "--arms", "sharedllm", *layers, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["tree"]["encoding"] == "chunk"
    assert found["arms"]["sharedllm M=1-3"] == {"lower_layers": 3, "first_layer": 1}
    arms = found["lengths"]["200"]["arms"]
    assert list(arms) == ["sharedllm M=3", "sharedllm M=1-3"], "0-3 is M = 3"
    wide, narrow = arms.values()
    for told in arms.values():
        assert told["indexed"]["seconds"] > 0
        assert told["index"]["seconds"] > 0
    assert narrow["tree_bytes"] / wide["tree_bytes"] == pytest.approx(2 / 3)
    assert narrow["index_bytes"] < wide["index_bytes"]
    assert narrow["index"]["operations"] == wide["index"]["operations"]
    assert narrow["token"]["operations"] < wide["token"]["operations"]


def test_a_table_says_how_its_trees_were_encoded() -> None:
    for flags, words in (((), "each node encoded alone"), (("--encoding", "chunk"), "each chunk encoded once")):
        code, out, err = call("--count", "--lengths", "1000", "--lower-layers", "1-3", *flags)
        assert code == 0, err
        assert "sharedllm M=1-3" in out
        assert words in out


def test_counting_knows_that_chunks_are_encoded_once() -> None:
    index = []
    for encoding in ("node", "chunk"):
        _, out, _ = call("--count", "--lengths", "4096", "--lower-layers", "4", "--encoding", encoding, "--json")
        found = json.loads(out)
        assert found["tree"]["encoding"] == encoding
        index.append(found["lengths"]["4096"]["arms"]["sharedllm M=4"]["index"])
    assert index[0] / index[1] == pytest.approx(3, rel=0.2)


@pytest.mark.parametrize("text", ["a", "10-", "-4", "3-3", "4-2", "1-2-3", "2,1:3", "2.5"])
def test_layers_that_are_none_are_refused_with_what_they_look_like(text: str) -> None:
    code, out, err = call("--count", f"--lower-layers={text}")
    assert code == 2
    assert not out
    assert err.startswith("error: --lower-layers must be numbers and ranges joined by commas, like 4,8,10-25, got ")
    assert repr(text.split(",")[-1]) in err
    assert "hint: 10-25 are the layers 10 to 24" in err


@pytest.mark.parametrize("text", ["5", "1-5", "2,4-9"])
def test_layers_that_the_model_lacks_are_refused(text: str) -> None:
    code, out, err = call("--count", "--lower-layers", text)
    assert (code, out) == (2, "")
    assert f"--lower-layers {text.split(',')[-1]} is more than the model's 4 layers" in err


def test_the_documents_tell_what_ranges_and_chunks_save() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for encoding in ("node", "chunk"):
        line = ["bench", "--random-weights", "smollm2-135m", "--device", "cpu", "--count", "--json"]
        line += ["--lengths", "131072", "--lower-layers", "25,10-25", "--arms", "sharedllm", "--encoding", encoding]
        out, err = io.StringIO(), io.StringIO()
        assert command(line, Console(out, err)) == 0, err.getvalue()
        for arm, told in json.loads(out.getvalue())["lengths"]["131072"]["arms"].items():
            operations = [f"{told[name] / 1e12:,.1f}" for name in ("cold", "index")]
            cells = [
                f"`{arm}`",
                encoding,
                *operations,
                f"{told['token'] / 1e9:.2f}",
                f"{told['index_bytes'] / 1e6:,.0f}",
            ]
            assert "| " + " | ".join(cells) + " |" in page
