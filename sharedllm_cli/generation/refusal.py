"""When the document does not say: the agreed sentence's probability as a whole, held against a threshold.

Greedy decoding says the sentence only where its first word is the likeliest one; a model that finds it a likely answer,
but no single answer likelier word by word, guesses; and it says it where no answer begins with a likelier word, though
all answers together are likelier. A threshold that was chosen on questions with known answers decides instead, before
anything is decoded (docs/evaluation.md); below it, what is decoded is the likeliest of all else
(`sampling.SuppressedSequence`). Knows no model.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sharedllm_cli.documents.chunking import plain_ids
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def refusal_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens of the agreed sentence and the one that ends an answer, where the tokenizer has one."""
    end = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    return [*plain_ids(tokenizer, NOT_IN_DOCUMENT), *end]


def refuses(nll: float, threshold: float | None) -> bool:
    """Whether a sentence that costs so many nats is said: from this probability on; None leaves it to decoding."""
    return threshold is not None and math.exp(-nll) >= threshold
