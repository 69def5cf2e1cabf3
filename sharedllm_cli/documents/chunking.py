"""A document's text as tokens, each with the characters that it stands for.

Knows tokenizers by their interface only (a Hugging Face fast tokenizer), and no model, page or file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Tokens:
    """The tokens of a text: `ids` and the character span `[starts, ends)` of each, all int32 [n].

    Spans never step back (starts and ends are ascending, tokens that share a character share its span). A character
    outside every span is white space that the tokenizer counts to no token.
    """

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def tokenize(text: str, tokenizer: Any, control: frozenset[int] | None = None) -> Tokens:
    """The whole text's tokens: nothing added, nothing cut off, and no control token, whatever the text spells.

    Text that spells one (`<|im_end|>`, `</think>`) is plain text: a document can't end a turn of the conversation.
    `control` is `control_ids(tokenizer)`, where the caller knows it already.
    """
    control = control_ids(tokenizer) if control is None else control
    ids, offsets = _encoded(text, tokenizer)
    if np.isin(ids, list(control)).any():
        # Added tokens that aren't marked special (Qwen's </think>) are recognised all the same: cut inside each.
        spelled = sorted((tokenizer.added_tokens_decoder[number].content for number in control), key=len, reverse=True)
        found = re.finditer("|".join(map(re.escape, spelled)), text)
        cuts = [0, *(match.start() + 1 for match in found), len(text)]
        parts = [(start, *_encoded(text[start:end], tokenizer)) for start, end in pairwise(cuts) if start < end]
        ids = np.concatenate([part for _, part, _ in parts])
        offsets = np.concatenate([start + places for start, _, places in parts])
    # A tokenizer may give (0, 0) to a token of its own making (a prefixed space): it stands where its neighbour ends.
    starts = np.maximum.accumulate(offsets[:, 0]) if len(ids) else offsets[:, 0]
    ends = np.maximum(np.maximum.accumulate(offsets[:, 1]), starts) if len(ids) else offsets[:, 1]
    return Tokens(ids, starts, ends)


def plain_ids(tokenizer: Any, text: str, control: frozenset[int] | None = None) -> list[int]:
    """The ids of `tokenize`, for text that needs no places: questions, answers, parts of a prompt."""
    ids: list[int] = tokenize(text, tokenizer, control).ids.tolist()
    return ids


def control_ids(tokenizer: Any) -> frozenset[int]:
    """Tokens that mean more to the model than their text: special ones, and those that the chat template writes."""
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else ""
    return frozenset(
        number
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.special or (token.content.strip() and token.content in template)
    )


def _encoded(text: str, tokenizer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Ids [n] and character spans [n, 2] of a text, both int32, no special token recognised."""
    backend = tokenizer.backend_tokenizer
    recognised = backend.encode_special_tokens
    try:
        encoded = tokenizer(
            text,
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            split_special_tokens=True,
            truncation=False,
            verbose=False,
        )
    finally:
        backend.encode_special_tokens = recognised  # the flag outlives the call: a prompt must still have its marks
    ids = np.asarray(encoded["input_ids"], dtype=np.int32)
    return ids, np.asarray(encoded["offset_mapping"], dtype=np.int32).reshape(-1, 2)
