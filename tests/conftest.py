"""Tiny random models of every family, and a byte tokenizer, made here: no test needs a download."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
TEST_HOME = os.environ.get("SHAREDLLM_TEST_HOME")
USERS_ENVIRONMENT = dict(os.environ)
"""The environment before `private_home` hides it: where the default model was pulled to."""


@pytest.fixture(autouse=True)
def private_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has its own SHAREDLLM_HOME and none of the user's settings."""
    for name in list(os.environ):
        if name.startswith("SHAREDLLM_"):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("SHAREDLLM_HOME", str(home))
    return home


def tiny_config(family: str, **changes: Any) -> Any:
    from transformers import AutoConfig

    values: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "vocab_size": 300,
        "max_position_embeddings": 512,
        "bos_token_id": 256,
        "eos_token_id": 257,
        "pad_token_id": 258,
        "tie_word_embeddings": True,
    }
    if family == "mistral":
        values["sliding_window"] = None
    return AutoConfig.for_model(family, **(values | changes))


def make_tiny_model(family: str, seed: int = 0, **changes: Any) -> Any:
    """A random model in float32 with weights large enough that attention is not flat."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(family, **changes))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            elif "embed" not in name:
                parameter.copy_(torch.randn_like(parameter) * 0.25)
    return model.eval()


def make_byte_tokenizer() -> Any:
    """One token a byte, then <s>, </s>, <pad>; a chat template of plain roles."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {character: number for number, character in enumerate(sorted(alphabet))}
    assert len(vocabulary) == 256
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>", "<pad>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        chat_template=(
            "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"
            "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
        ),
    )


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def byte_tokenizer() -> Any:
    return make_byte_tokenizer()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that writes a tiny model of a family with the byte tokenizer to a folder and returns it."""
    made: dict[tuple[Any, ...], Path] = {}

    def make(family: str = "llama", **changes: Any) -> Path:
        key = (family, *sorted(changes.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp(f"tiny-{family}")
            make_tiny_model(family, **changes).save_pretrained(folder)
            make_byte_tokenizer().save_pretrained(folder)
            made[key] = folder
        return made[key]

    return make


@pytest.fixture(scope="session")
def model_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with indexes of its own and the user's models, so that the default model is pulled at most once."""
    from sharedllm_cli.home import ensure_private, home_folder, models_folder

    home = tmp_path_factory.mktemp("model-home")
    models_folder(home).symlink_to(ensure_private(models_folder(home_folder(USERS_ENVIRONMENT))))
    return home


@pytest.fixture(scope="session")
def shared_pdfs() -> Path:
    """The folder of real PDFs beside the project; skips where there is none."""
    folder = Path(__file__).parents[2] / "shared" / "pdfs"
    if not folder.is_dir():
        pytest.skip("../shared/pdfs is not here")
    return folder


@pytest.fixture(scope="session")
def default_model_home(request: pytest.FixtureRequest) -> Path:
    """A home folder that holds the default model: `SHAREDLLM_TEST_HOME`, or one in pytest's cache, pulled into once.

    Where it can't be had (no network), the test is skipped, except in CI.
    """
    from sharedllm_cli.config import DEFAULT_MODEL
    from sharedllm_cli.errors import ModelError
    from sharedllm_cli.model.pull import pull
    from sharedllm_cli.progress import Silent

    home = Path(TEST_HOME) if TEST_HOME else Path(request.config.cache.mkdir("sharedllm-home"))
    try:
        pull(DEFAULT_MODEL, home, Silent())
    except ModelError as problem:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the default model can't be had here: {problem}")
    return home
