"""The counts follow from the shapes: each against a sum written out, a search, or a limit that it must meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharedllm_cli.config import Settings, TreeConfig
from sharedllm_cli.context.search import leaf_scores, search
from sharedllm_cli.context.tree import ChunkTree, chunk_lengths
from sharedllm_cli.errors import UsageError
from sharedllm_cli.lab.bench import counts
from sharedllm_cli.lab.bench.counts import CEPE, Base, EncoderShape, Extent, Machine, TreeCost, Work, encoder_shape
from sharedllm_cli.lab.bench.request import Request, count
from sharedllm_cli.lab.bench.subject import SHAPES, shape_config
from sharedllm_cli.weights.facts import facts_from_config

TREE = TreeConfig(512)
PAGE = Path(__file__).parents[3] / "docs" / "benchmarks.md"


def base(shape: str = "llama-3.1-8b", layer_bytes: float = 0.0) -> Base:
    return Base(facts_from_config(shape_config(shape), shape), layer_bytes, 2)


@pytest.mark.parametrize(
    ("shape", "billions"), [("llama-3.1-8b", 8.03), ("llama-2-7b", 6.74), ("smollm2-135m", 0.1345)]
)
def test_a_named_shape_is_the_model_of_that_name(shape: str, billions: float) -> None:
    assert base(shape).facts.parameter_count / 1e9 == pytest.approx(billions, rel=0.002)


def test_a_shape_can_be_written_out() -> None:
    written = facts_from_config(shape_config("32x4096x32x8x14336x128256"), "llama-3.1-8b")
    named = facts_from_config(SHAPES["llama-3.1-8b"], "llama-3.1-8b")
    assert written == named.__class__(**{**named.__dict__, "window": written.window})


@pytest.mark.parametrize(
    "text", ["", "huge", "4x64x4x2x128", "4x64x5x1x128x512", "4x64x4x3x128x512", "0x64x4x2x128x512"]
)
def test_a_shape_that_can_t_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        shape_config(text)


@pytest.mark.parametrize("text", ["", "huge", "24x1024x16", "24x1024x15x4096", "0x1024x16x4096"])
def test_an_encoder_that_can_t_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        encoder_shape(text, base().facts)


def test_the_encoder_of_the_base_has_its_layers() -> None:
    facts = base("llama-2-7b").facts
    assert encoder_shape("base", facts).layer_weights == base("llama-2-7b").matrix
    assert encoder_shape("cepe", facts) == CEPE
    assert encoder_shape("2x64x4x128", facts) == EncoderShape(2, 64, 4, 128)


@pytest.mark.parametrize("tokens", [1, 7, 300, 512, 5000])
@pytest.mark.parametrize("tree", [TREE, TreeConfig(64, 2, (4, 2)), TreeConfig(100)])
def test_the_preserved_nodes_are_counted_as_a_search_finds_them(tokens: int, tree: TreeConfig) -> None:
    """Always right, the path that the counts take; another one differs by the rounding of halves alone."""
    trees = [ChunkTree(length, tree) for length in chunk_lengths(tokens, tree.chunk_tokens)]
    nodes = search(trees, leaf_scores(trees, [np.arange(one.leaf_count) for one in trees]))
    lengths = [trees[node.chunk].span(node.level, node.index).length for node in nodes]
    cost = TreeCost(tokens, tree)
    assert cost.encoded() == sum(lengths) == tokens
    assert cost.kept() == sum(trees[node.chunk].kept_count(node.level, node.index) for node in nodes)
    assert cost.pairs() == sum(length * (length + 1) // 2 for length in lengths)


def test_an_index_encodes_every_token_once_a_level_and_a_chunk_once_where_it_is_encoded_whole() -> None:
    assert TreeCost(4096, TREE).encoded(every=True) == 3 * 4096
    assert TreeCost(4096, TREE).kept(every=True) == 7 * 4096 // 16
    whole = TreeCost(4096, TreeConfig(512, encoding="chunk"))
    assert whole.encoded(every=True) == whole.encoded() == 4096
    assert whole.pairs() == 8 * 512 * 513 // 2


def test_a_lower_model_of_all_layers_costs_what_reading_costs() -> None:
    """One chunk, one node, every key kept: but for the last layer, which yields keys and values alone."""
    model, length = base(), 300
    tree = TreeConfig(512, 9, (1,) * 9)  # more leaves than tokens: the chunk is a single node
    layers = model.facts.layer_count
    encoded = counts.encode(model, TreeCost(length, tree), range(layers + 1))
    projected = 2 * model.facts.hidden_size * model.key_value * length
    read = counts.read_running(model, length)
    assert encoded.operations - projected == read.operations - model.head.operations


def test_a_window_as_wide_as_the_text_is_the_whole_text() -> None:
    for tokens in (1, 100, 2000):
        whole, streamed = counts.read_whole(base(), tokens), counts.read_streaming(base(), tokens, 2000)
        assert streamed.operations == whole.operations
    narrow, wide = (counts.read_streaming(base(), 5000, window).operations for window in (100, 200))
    assert narrow < wide < counts.read_whole(base(), 5000).operations


def test_a_window_s_pairs_are_those_written_out() -> None:
    model = base("tiny")
    tokens, window = 50, 7
    pairs = sum(min(token + 1, window) for token in range(tokens))
    layers = model.facts.layer_count
    expected = layers * (2 * model.matrix * tokens + model.pair * pairs) + model.head.operations
    assert counts.read_streaming(model, tokens, window).operations == expected


def test_a_token_more_is_the_difference_of_two_readings() -> None:
    """A head's product apart, which either reading does once."""
    model, running, tree_keys, depth = base(), 1280, 16384, 8
    longer, shorter = (counts.read_running(model, length, tree_keys, depth) for length in (running + 1, running))
    seen = model.facts.layer_count * (running + 1) + depth * tree_keys
    token = counts.next_token(model, seen)
    assert longer.operations - shorter.operations == token.operations - model.head.operations


def test_without_a_document_the_encoder_decoder_is_the_decoder_with_its_cross_projections() -> None:
    model, extent = base(), Extent(0, 100)
    projections = 2 * model.facts.hidden_size**2 * model.facts.layer_count
    own = counts.read_running(model, 100).operations
    assert counts.read_cross(model, extent).operations == own + 2 * projections * 100
    assert counts.encode_bidirectional(model, CEPE, 0).operations == 0


def test_an_encoder_s_operations_are_its_parameters_twice_and_its_attention() -> None:
    model, tokens = base(), 1024
    facts = model.facts
    weights = 24 * 12 * 1024**2 + 32 * 1024 * 2 * facts.key_value_heads * facts.head_dim
    attention = 24 * 4 * 1024 * tokens * 256
    assert counts.encode_bidirectional(model, CEPE, tokens).operations == 2 * weights * tokens + attention


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    request = Request(
        (8192, 32768, 131072),
        shape="llama-3.1-8b",
        layers=((0, 4), (0, 8), (0, 16)),
        encoders=("cepe", "base"),
        block=256,
    )
    found: dict[str, Any] = count(request, Settings(device="cpu"), home=tmp_path_factory.mktemp("home"))["lengths"]
    return found


def test_the_documents_tell_what_is_counted(counted: dict[str, Any]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    others = ("streaming", "encoder-decoder cepe", "encoder-decoder base", "full")
    for length, of in counted.items():
        for arm, told in of["arms"].items():
            ratios = [f"{told['against'][other]:.2f}×" if "against" in told else "" for other in others]
            index = f"{told['index'] / 1e12:,.1f}" if "index" in told else ""
            cells = [f"{int(length):,}", f"`{arm}`", f"{told['cold'] / 1e12:,.1f}", index, f"{told['token'] / 1e9:.1f}"]
            assert "| " + " | ".join([*cells, *ratios]) + " |" in page


def test_fewer_lower_layers_cost_less_and_an_index_three_passes(counted: dict[str, Any]) -> None:
    arms = counted["131072"]["arms"]
    shallow, middle, deep = (arms[f"sharedllm M={depth}"] for depth in (4, 8, 16))
    for other in ("streaming", "full"):
        assert shallow["against"][other] > middle["against"][other] > deep["against"][other] > 2
    for told in (shallow, middle, deep):
        encoded = told["cold"] - told["indexed"]
        assert told["index"] / encoded == pytest.approx(3, rel=0.02)


def test_a_floor_is_the_slower_of_products_and_bytes_step_by_step() -> None:
    machine = Machine(rate=100.0, bandwidth=10.0)
    assert machine.floor([Work(200.0, 10.0), Work(100.0, 50.0)]) == pytest.approx(2.0 + 5.0)


def test_weights_count_once_a_pass() -> None:
    light, heavy = base(layer_bytes=0.0), base(layer_bytes=1e6)
    layers = heavy.facts.layer_count
    for work in (lambda of: counts.read_running(of, 10), lambda of: counts.next_token(of, 10)):
        assert work(heavy).bytes - work(light).bytes == layers * 1e6
    lower = [counts.encode(of, TreeCost(512, TREE), range(4)).bytes for of in (heavy, light)]
    assert lower[0] - lower[1] == 3 * 1e6
