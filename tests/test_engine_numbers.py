"""What numbers an answer rests on: the same ones twice, from disk, of every type of weights; never one that is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import make_byte_tokenizer, make_tiny_model

from sharedllm_cli.answer import Answer
from sharedllm_cli.config import Settings
from sharedllm_cli.engine import Engine
from sharedllm_cli.errors import ModelError, UsageError
from sharedllm_cli.progress import Silent

pytestmark = pytest.mark.usefixtures("bitsandbytes_alone")
SHAPE = {"hidden_size": 128, "head_dim": 32, "intermediate_size": 256, "max_position_embeddings": 8192}
KINDS = [(grains, quantize) for grains in ("text", "fine") for quantize in ("none", "8bit", "4bit")]
QUESTION = "Who lights the northern beacon?"
STORY = "The harbour master keeps a ledger. Old Marten lights the northern beacon at dusk. The key hangs there. "
SCRIPTS = {
    "arabic": "يضيء الحارس المنارة عند الغروب كل يوم. ",
    "cyrillic": "Смотритель зажигает маяк на закате каждый день. ",
    "devanagari": "रखवाला हर शाम दीपस्तंभ जलाता है। ",
    "georgian": "მცველი ანთებს შუქურას ყოველ საღამოს. ",
    "greek": "Ο φύλακας ανάβει τον φάρο κάθε βράδυ. ",
    "hangul": "등대지기는 매일 저녁 등대를 켠다. ",
    "han": "守塔人每天黄昏点亮灯塔。",
    "hebrew": "השומר מדליק את המגדלור בכל ערב. ",
    "kana": "灯台守は毎日夕方に灯台をともす。",
    "thai": "ผู้ดูแลจุดประภาคารทุกเย็น ",
    "outside the first plane": "𐌰𐌱𐌲 🗼🔥 𓀀𓀁 𠀋𠂢. ",
}


@pytest.fixture
def story(tmp_path: Path) -> Path:
    path = tmp_path / "harbour.txt"
    path.write_text(STORY + "The second page tells of the granary and its slow mice. " * 20)
    return path


@pytest.fixture
def make(model_folder: Callable[..., Path], private_home: Path) -> Callable[..., Engine]:
    folder = str(model_folder("llama", **SHAPE))

    def made(**changes: Any) -> Engine:
        values: dict[str, Any] = {"model": folder, "device": "cpu", "evidence_tokens": 200, "max_new_tokens": 6}
        return Engine(Settings(**(values | changes)), home=private_home, reporter=Silent())

    return made


def told(answer: Answer) -> dict[str, Any]:
    """What an answer says, but for time, memory and what was found stored."""
    found = answer.to_json()
    for key in ("timing", "memory", "index"):
        del found[key]
    return found


@pytest.mark.parametrize(("grains", "quantize"), KINDS, ids=str)
@pytest.mark.parametrize("candidates", [1, 4])
def test_an_answer_is_the_same_twice_and_from_disk(
    grains: str, quantize: str, candidates: int, make: Callable[..., Engine], story: Path
) -> None:
    changes = {"grains": grains, "quantize": quantize, "candidates": candidates}
    engine = make(**changes)
    engine.index(str(story))
    asked = [engine.answer(str(story), QUESTION) for _ in range(3)]
    asked += [make(**changes, seed=seed).answer(str(story), QUESTION) for seed in (0, 1)]
    assert [one.index.tokens_known > 0 for one in asked] == [grains == "fine"] * 5
    first, *others = map(told, asked)
    for other in others:
        assert other | {"settings": None} == first | {"settings": None}


@pytest.mark.parametrize("grains", ["text", "fine"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_answered_and_quoted(
    script: str, grains: str, make: Callable[..., Engine], tmp_path: Path
) -> None:
    text = SCRIPTS[script]
    path = tmp_path / "script.txt"
    path.write_text(text * 6, encoding="utf-8")
    engine = make(grains=grains)
    engine.index(str(path))
    answer = engine.answer(str(path), text.strip())
    assert answer.sources
    assert all(source.quote in text * 6 for source in answer.sources)
    assert answer.answer.encode("utf-8")
    assert (answer.index.tokens_known > 0) == (grains == "fine")


@pytest.mark.parametrize("grains", ["text", "fine"])
def test_a_question_longer_than_the_window_is_refused(grains: str, make: Callable[..., Engine], story: Path) -> None:
    engine = make(grains=grains)
    engine.index(str(story))
    with pytest.raises(UsageError, match="question"):
        engine.answer(str(story), "beacon " * 1500)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("layer", [0, 3])
def test_a_fine_grain_that_is_no_number_is_not_stored(
    bad: float, layer: int, tmp_path: Path, private_home: Path, story: Path
) -> None:
    model = make_tiny_model("llama", **SHAPE)
    with torch.no_grad():
        model.model.layers[layer].self_attn.v_proj.weight[0, 0] = bad
    model.save_pretrained(tmp_path / "bad")
    make_byte_tokenizer().save_pretrained(tmp_path / "bad")
    settings = Settings(model=str(tmp_path / "bad"), device="cpu", evidence_tokens=200, max_new_tokens=2, grains="fine")
    engine = Engine(settings, home=private_home, reporter=Silent())
    with pytest.raises(ModelError, match="not numbers"):
        engine.index(str(story))
    assert engine.fine.find(engine.open([str(story)]).documents[0]) is None
