"""A document's text as tokens, each with the characters that it stands for.

Knows tokenizers by their interface only (a Hugging Face fast tokenizer), and no model, page or file.
"""

from __future__ import annotations

from dataclasses import dataclass
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


def tokenize(text: str, tokenizer: Any) -> Tokens:
    """The whole text's tokens: no special tokens added, none recognised, none cut off.

    Text that spells a special token (`<|im_end|>`) is plain text: a document can't end a turn of the conversation.
    """
    backend = tokenizer.backend_tokenizer
    recognised = backend.encode_special_tokens
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
    backend.encode_special_tokens = recognised  # the flag outlives the call: a prompt must still have its marks
    ids = np.asarray(encoded["input_ids"], dtype=np.int32)
    offsets = np.asarray(encoded["offset_mapping"], dtype=np.int32).reshape(-1, 2)
    # A tokenizer may give (0, 0) to a token of its own making (a prefixed space): it stands where its neighbour ends.
    starts = np.maximum.accumulate(offsets[:, 0]) if len(ids) else offsets[:, 0]
    ends = np.maximum(np.maximum.accumulate(offsets[:, 1]), starts) if len(ids) else offsets[:, 1]
    return Tokens(ids, starts, ends)
