"""What adapter.json must hold, may hold and must not hold: fields come and go, and nothing is misread."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import sharedllm_cli
from sharedllm_cli.config import InjectionConfig, TreeConfig
from sharedllm_cli.errors import ModelError
from sharedllm_cli.model.adapter_config import AdapterConfig, LowRankConfig, read_config

OPTIONAL = ("low_rank", "base_weights", "trained", "beside_passages", "refuse_from", "evidence_tokens", "text_bias")
CONFIG = AdapterConfig(
    "tiny",
    (4, 32, 4, 2, 8),
    InjectionConfig("merged", 3, 1, "head"),
    TreeConfig(64, 2, (8, 4), "chunk"),
    LowRankConfig(2, 4.0, (3,), ("q_proj",), (1, 2)),
    base_weights="ab" * 32,
    trained={"objective": "qa", "parents": []},
    beside_passages=False,
    refuse_from=0.3,
    evidence_tokens=384,
    text_bias=-1.7,
    candidates=4,
    kinds=True,
)


def written(**changes: Any) -> dict[str, Any]:
    """The configuration as JSON with some values changed; `injection__form` is a key of an object."""
    data = CONFIG.to_json()
    for name, value in changes.items():
        *owners, key = name.split("__")
        owner = data
        for part in owners:
            owner = owner[part]
        owner[key] = value
    return data


def as_json(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(data))
    return found


def test_what_is_written_is_read() -> None:
    assert AdapterConfig.from_json(as_json(CONFIG.to_json())) == CONFIG


def test_keys_of_another_version_are_passed_over() -> None:
    data = as_json(written(voice="low", injection__strange=1, tree__strange=[1], low_rank__strange=None))
    assert AdapterConfig.from_json(data) == CONFIG


@pytest.mark.parametrize("name", [*OPTIONAL, "candidates", "kinds"])
def test_an_optional_key_that_is_missing_takes_its_default(name: str) -> None:
    data = as_json(CONFIG.to_json())
    del data[name]
    assert getattr(AdapterConfig.from_json(data), name) == {"beside_passages": True, "kinds": False}.get(name)


@pytest.mark.parametrize(("owner", "key"), [("injection", "gates"), ("injection", "first_layer"), ("tree", "encoding")])
def test_a_missing_key_of_an_object_takes_its_default(owner: str, key: str) -> None:
    data = as_json(CONFIG.to_json())
    del data[owner][key]
    expected = {"gates": "layer", "first_layer": 0, "encoding": "node"}[key]
    assert getattr(getattr(AdapterConfig.from_json(data), owner), key) == expected


@pytest.mark.parametrize("path", ["base", "shape", "tree", "injection", "injection__form", "tree__ratios"])
def test_a_key_that_is_needed_is_named_where_it_is_missing(path: str) -> None:
    data = as_json(CONFIG.to_json())
    *owners, key = path.split("__")
    owner = data
    for part in owners:
        owner = owner[part]
    del owner[key]
    with pytest.raises(ModelError, match=f"{key} is missing"):
        AdapterConfig.from_json(data)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base": 3}, "base is 3"),
        ({"beside_passages": "no"}, "beside_passages is 'no'"),
        ({"beside_passages": None}, "beside_passages is None"),
        ({"evidence_tokens": 384.5}, "evidence_tokens is 384.5"),
        ({"candidates": True}, "candidates is True"),
        ({"kinds": "yes"}, "kinds is 'yes'"),
        ({"kinds": None}, "kinds is None"),
        ({"text_bias": "low"}, "text_bias is 'low'"),
        ({"low_rank__layers": ["3"]}, "layers is '3'"),
        ({"low_rank__layers": [3, 3]}, "each at most once"),
        ({"low_rank__layers": [10**12]}, r"layers are \[1000000000000, 1, 2\], of 4"),
        ({"low_rank__rank": 10**12}, "rank is 1000000000000"),
        ({"low_rank__rank": 0}, "rank is 0"),
        ({"low_rank__alpha": float("inf")}, "alpha is inf"),
        ({"text_bias": float("nan")}, "text_bias is nan"),
        ({"low_rank__alpha": 1e12}, "alpha is 1000000000000"),
        ({"low_rank__alpha": None}, "alpha is None"),
        ({"text_bias": -1e12}, "text_bias is -1000000000000"),
        ({"tree__chunk_tokens": 10**12}, "chunk size is 1000000000000"),
        ({"tree__ratios": [10**12, 8, 4]}, "ratios"),
        ({"evidence_tokens": float("inf")}, "evidence_tokens is inf"),
        ({"refuse_from": float("nan")}, "refuse-from"),
        ({"tree": [1]}, "tree is"),
        ({"trained": "yes"}, "trained is 'yes'"),
        ({"injection__lower_layers": "3"}, "lower_layers is '3'"),
        ({"injection__gates": "word"}, "unknown gates"),
        ({"tree__encoding": "whole"}, "unknown encoding"),
        ({"low_rank": {}}, "rank is missing"),
    ],
)
def test_a_value_of_a_wrong_type_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        AdapterConfig.from_json(as_json(written(**changes)))


def test_a_whole_number_is_a_number() -> None:
    assert AdapterConfig.from_json(as_json(written(refuse_from=1, text_bias=-2))).text_bias == -2.0


def test_a_length_bias_is_refused_and_none_is_fine() -> None:
    assert AdapterConfig.from_json(as_json(written(injection__length_bias=0.0))) == CONFIG
    with pytest.raises(ModelError, match="length bias"):
        AdapterConfig.from_json(as_json(written(injection__length_bias=0.5)))


def test_the_shipped_adapter_tells_its_last_run_and_the_weights_before_it() -> None:
    folder = Path(sharedllm_cli.__file__).parent / "adapters" / "smollm2-135m-instruct"
    trained = read_config(folder).trained
    assert trained is not None
    assert "start" not in trained
    assert len(trained["parents"]) == 9
    assert all(len(parent) == 64 for parent in trained["parents"])
    assert (folder / "adapter.json").stat().st_size < 6000
