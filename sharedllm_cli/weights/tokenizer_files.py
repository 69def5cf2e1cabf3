"""A model folder's tokenizer, exactly as its `tokenizer.json` says. Loads no torch.

transformers' own `from_pretrained` parses the vocabulary three times over (half a second) and may rebuild the splitting
from the class name; here the file is what counts.

Only the fast kind is used: it alone says which characters a token covers, and every quote and page depends on that.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharedllm_cli.errors import ModelError
from sharedllm_cli.weights.weight_files import file_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_SLOW_FILES = ("tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "merges.txt", "tekken.json")
_NO_LIMIT = int(1e30)


def read_tokenizer(folder: Path) -> tuple[PreTrainedTokenizerFast, str]:
    """The tokenizer in a model folder and the SHA-256 of its `tokenizer.json`.

    It neither truncates nor pads, whatever its files say. Raises ModelError where there is none, only a slow one, or a
    damaged one.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        if any((folder / name).is_file() for name in _SLOW_FILES):
            raise ModelError(
                f"{folder} has only a slow tokenizer, which does not know a token's place in the text",
                hint="create a tokenizer.json: load the tokenizer in transformers and call save_pretrained",
            )
        raise ModelError(f"{folder} has no tokenizer: there is no tokenizer.json")
    identity = file_hash(path)
    from transformers import PreTrainedTokenizerFast

    options = _special_tokens(folder) | _chat_template(folder)
    try:
        tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_file=str(path), clean_up_tokenization_spaces=False, **options
        )
    except Exception as error:  # the tokenizers library raises bare Exception for damaged files
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{path} is damaged: {reason}") from error
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.model_max_length = _NO_LIMIT  # a document is longer than any window; the window is the model's to guard
    return tokenizer, identity


def _special_tokens(folder: Path) -> dict[str, str]:
    """The tokens that begin, end and pad a text, from `tokenizer_config.json` or else `special_tokens_map.json`."""
    found: dict[str, str] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        values = _json_object(folder / file)
        for name in ("bos_token", "eos_token", "unk_token", "pad_token"):
            token = values.get(name)
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str):
                found[name] = token
    return found


def _chat_template(folder: Path) -> dict[str, str]:
    """The chat template, from its own file or the configuration (of several, the one named `default`); none if none."""
    own = folder / "chat_template.jinja"
    template = own.read_text(encoding="utf-8") if own.is_file() else None
    template = template or _json_object(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return {"chat_template": template} if isinstance(template, str) else {}


def _json_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is damaged: it is not valid JSON") from error
    return values if isinstance(values, dict) else {}


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no log lines of transformers while the body runs; failures still raise."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
