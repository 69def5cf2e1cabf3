"""A model folder's tokenizer, exactly as its `tokenizer.json` says. Loads no torch.

Only the fast kind is used: it alone tells which characters a token stands for, which every quote and page rests on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sharedllm_cli.errors import ModelError
from sharedllm_cli.model.references import locate
from sharedllm_cli.model.weights_hash import file_hash
from sharedllm_cli.progress import Reporter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_SLOW_FILES = ("tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "merges.txt", "tekken.json")
_NO_LIMIT = int(1e30)


def load_tokenizer(
    reference: str, *, home: Path, offline: bool, reporter: Reporter
) -> tuple[PreTrainedTokenizerFast, str]:
    """A model's tokenizer and its hash, without the model's weights in memory (they are fetched where they are missing).

    Raises ModelError where the model can't be had or has no usable tokenizer.
    """
    return read_tokenizer(locate(reference, home=home, offline=offline, reporter=reporter).folder)


def read_tokenizer(folder: Path) -> tuple[PreTrainedTokenizerFast, str]:
    """The tokenizer in a model folder and the SHA-256 of its `tokenizer.json`.

    It neither truncates nor pads, whatever its files say. Raises ModelError where there is none, only a slow one, or a
    damaged one.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        if any((folder / name).is_file() for name in _SLOW_FILES):
            raise ModelError(
                f"{folder} has only a slow tokenizer, which can't tell where a token stands in the text",
                hint="make a tokenizer.json: load the tokenizer in transformers and call save_pretrained",
            )
        raise ModelError(f"{folder} has no tokenizer: there is no tokenizer.json")
    identity = file_hash(path)
    from transformers import PreTrainedTokenizerFast

    try:
        with quiet_transformers():
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exception for damaged files
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"the tokenizer in {folder} is damaged: {reason}") from error
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.model_max_length = _NO_LIMIT  # a document is longer than any window; the window is the model's to guard
    return tokenizer, identity


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no log lines of transformers while the body runs; failures still raise."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
