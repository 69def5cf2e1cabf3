"""What transformers and this tool hand each other by name: a name that is gone is an error, never a silent None."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from test_upper import TREE, opened, random_nodes
from tiny_models import make_tiny_model

from sharedllm_cli.config import InjectionConfig
from sharedllm_cli.errors import ModelError
from sharedllm_cli.model import compat
from sharedllm_cli.model import upper as upper_module
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.upper import UpperModel

PACKAGE = Path(compat.__file__).parents[1]


def reading_upper(family: str = "llama", form: Any = "merged") -> UpperModel:
    model = make_tiny_model(family)
    return UpperModel(model, opened(Adapter.untrained(model, "tiny", InjectionConfig(form, 3), TREE)))


def test_only_one_file_knows_what_transformers_calls_a_cache() -> None:
    naming = re.compile(r"past_key_values|cache_position|from transformers\.(?:cache_utils|masking_utils|integrations)")
    files = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if naming.search(path.read_text())}
    assert files == {"model/compat.py"}


def test_the_name_is_that_of_the_signature() -> None:
    def before(hidden: Any, past_key_values: Any = None) -> None: ...

    def now(hidden: Any, cache: Any = None) -> None: ...

    def later(hidden: Any, memory: Any = None) -> None: ...

    assert (compat.cache_name(before), compat.cache_name(now)) == ("past_key_values", "cache")
    with pytest.raises(ModelError) as told:
        compat.cache_name(later)
    assert f"transformers {metadata.version('transformers')}" in told.value.message
    assert told.value.exit_code == 4


@pytest.mark.parametrize("missing", ["position_embeddings", "attention_mask", "cache"])
def test_a_layer_that_is_called_without_something_says_so(missing: str) -> None:
    upper = reading_upper()
    layer, hidden, positions = upper.model.model.layers[1], torch.randn(1, 3, 32), torch.arange(3)[None]
    rotation = upper.model.model.rotary_emb(hidden, positions)
    named = compat.layer_keywords(layer, mask=None, positions=positions, rotation=rotation)
    name = compat.cache_name(type(layer.wrapped).forward) if missing == "cache" else missing
    del named[name]
    context = upper.context(random_nodes(upper.model, 3), 3)
    with pytest.raises(ModelError, match=f"called without {name}"):
        layer(hidden, **named, tree_context=context)


@pytest.mark.parametrize("form", ["merged", "additive"])
def test_a_tree_that_is_read_as_it_was_meant_is_read(family: str, form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    upper = reading_upper(family, form)
    context = upper.context(random_nodes(upper.model, 3), 3)
    assert context is not None
    layers, count = upper.model.model.layers, upper.model.config.num_hidden_layers
    upper.check_reading(context)
    assert upper.model.model.layers is layers
    assert upper.model.config.num_hidden_layers == count
    monkeypatch.setattr(upper_module, "check_reading", None)
    upper.check_reading(context)  # once


def test_a_layer_that_loses_its_cache_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As transformers 5.24 did to a release that asked for the cache by its name before."""
    upper = reading_upper()
    inputs = compat.layer_inputs
    monkeypatch.setattr(upper_module, "layer_inputs", lambda *given: inputs(*given)._replace(cache=None))
    context = upper.context(random_nodes(upper.model, 3), 3)
    assert context is not None
    with pytest.raises(ModelError, match="a step with a cache differs"):
        upper.check_reading(context)
    with pytest.raises(ModelError, match=r"transformers \d"):
        upper.check_reading(context)


def test_a_tree_that_does_not_reach_the_layers_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    upper = reading_upper()
    context = upper.context(random_nodes(upper.model, 3), 3)
    assert context is not None
    call = upper_module.InjectedLayer.forward

    def deaf(layer: Any, hidden: Any, *, tree_context: Any = None, **arguments: Any) -> Any:
        return call(layer, hidden, **arguments)

    monkeypatch.setattr(upper_module.InjectedLayer, "forward", deaf)
    with pytest.raises(ModelError, match="don't see the tree"):
        upper.check_reading(context)
