"""What is shipped: half the bytes, the same answers; and the adapters that lie in the package."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import sharedllm_cli
from sharedllm_cli.answering.kinds import RULES
from sharedllm_cli.config import InjectionConfig, TreeConfig
from sharedllm_cli.errors import ModelError
from sharedllm_cli.generation import prompt
from sharedllm_cli.generation.prompt import PassageText
from sharedllm_cli.lab.training.objective import TrainedUpper
from sharedllm_cli.lab.training.sample import Batch, question_answers
from sharedllm_cli.lab.training.ship import MOST_BYTES, ship
from sharedllm_cli.model.adapter import WEIGHTS_FILE, Adapter, model_shape
from sharedllm_cli.model.adapter_config import AdapterConfig, LowRankConfig, read_config
from sharedllm_cli.model.loading import BaseModel
from sharedllm_cli.model.upper import UpperModel

SHIPPED = sorted((Path(sharedllm_cli.__file__).parent / "adapters").glob("*/adapter.json"))


def make_adapter(base: BaseModel, folder: Path, *, trained: bool = True) -> Adapter:
    low_rank = LowRankConfig(4, 8.0, (2, 3), ("q_proj", "up_proj"))
    config = AdapterConfig(base.name, model_shape(base.model), InjectionConfig("merged", 2), TreeConfig(), low_rank)
    adapter = Adapter(base.model, config)
    for name, parameter in adapter.named_parameters():
        if name.endswith("up"):
            torch.nn.init.normal_(parameter, std=0.1)
    adapter.save(folder, trained={"objective": "qa"} if trained else None)
    return adapter


def logits(base: BaseModel, adapter: Adapter) -> torch.Tensor:
    sample = question_answers(base.tokenizer, [PassageText("a", None, None, "It is 4.", 1.0)], [("What?", "4")], 4096)
    assert sample is not None
    upper = UpperModel(base.model, adapter)
    with torch.no_grad():
        found: torch.Tensor = TrainedUpper(upper)(Batch.of([sample], torch.device("cpu")))
    upper.remove()
    return found


def test_a_shipped_adapter_is_half_as_large_and_answers_alike(tiny: BaseModel, tmp_path: Path) -> None:
    before = logits(tiny, make_adapter(tiny, tmp_path / "wide"))
    ship(tmp_path / "wide", tmp_path / "narrow", refuse_from=0.3, evidence_tokens=90, text_bias=-1.5, candidates=3)
    config = read_config(tmp_path / "narrow")
    measured = (config.refuse_from, config.evidence_tokens, config.text_bias, config.candidates)
    assert measured == (0.3, 90, -1.5, 3)
    assert config.beside_passages is read_config(tmp_path / "wide").beside_passages, "what is not given stays"
    shipped = Adapter.load(tmp_path / "narrow", tiny.model)
    assert shipped.trained
    assert not shipped.reads_tree
    torch.testing.assert_close(logits(tiny, shipped), before, rtol=1e-2, atol=1e-2)
    sizes = [
        sum(one.nbytes for one in load.values()) for load in map(weights, (tmp_path / "wide", tmp_path / "narrow"))
    ]
    assert sizes[1] < 0.55 * sizes[0]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / WEIGHTS_FILE)


def test_the_mean_of_two_adapters_is_shipped(tiny: BaseModel, tmp_path: Path) -> None:
    for place in ("later", "earlier"):
        make_adapter(tiny, tmp_path / place)
    later, earlier = weights(tmp_path / "later"), weights(tmp_path / "earlier")
    ship(tmp_path / "later", tmp_path / "mean", dtype=torch.float32, mean_with=tmp_path / "earlier")
    found = weights(tmp_path / "mean")
    (name,) = [name for name in found if name.endswith("2.q_proj.up")]
    assert not torch.equal(later[name], earlier[name])
    torch.testing.assert_close(found[name], (later[name] + earlier[name]) / 2)
    assert all(torch.equal(found[gate], later[gate]) for gate in found if gate.endswith("gate"))


def test_adapters_of_other_shapes_have_no_mean(tiny: BaseModel, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    make_adapter(tiny, tmp_path / "later")
    (tmp_path / "other").mkdir()
    less = dict(list(weights(tmp_path / "later").items())[1:])
    save_file(less, tmp_path / "other" / WEIGHTS_FILE)
    with pytest.raises(ModelError, match="not of the same shape"):
        ship(tmp_path / "later", tmp_path / "out", mean_with=tmp_path / "other")


def test_what_is_untrained_or_does_not_fit_is_not_shipped(tiny: BaseModel, tmp_path: Path) -> None:
    make_adapter(tiny, tmp_path / "untrained", trained=False)
    with pytest.raises(ModelError, match="not trained"):
        ship(tmp_path / "untrained", tmp_path / "out")
    large = make_adapter(tiny, tmp_path / "large")
    with torch.no_grad():
        next(parameter for name, parameter in large.named_parameters() if name.endswith("up")).fill_(1e6)
    large.save(tmp_path / "large", trained={"objective": "qa"})
    with pytest.raises(ModelError, match="does not fit"):
        ship(tmp_path / "large", tmp_path / "out")


@pytest.mark.parametrize("config", SHIPPED, ids=lambda path: path.parent.name)
def test_an_adapter_of_the_package_fits_this_program(config: Path) -> None:
    """It is trained on the prompt that is used now, small, and closed gates are closed."""
    adapter = read_config(config.parent)
    assert adapter.trained is not None
    assert adapter.trained["prompt"] == {
        "system": prompt.SYSTEM,
        **({"rules": dict(RULES)} if adapter.kinds else {"rule": prompt.RULE}),
        "refusal": prompt.NOT_IN_DOCUMENT,
    }
    assert (config.parent / WEIGHTS_FILE).stat().st_size < MOST_BYTES
    assert (config.parent / "CARD.md").is_file()
    for name, tensor in weights(config.parent).items():
        assert not torch.isnan(tensor).any(), name
        assert name.endswith("gate") or math.isfinite(float(tensor.float().abs().max())), name
