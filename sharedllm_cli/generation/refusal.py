"""The refusal: that the document does not say. Its cost as a whole, and how to know it in an answer.

Greedy decoding gives the refusal only where its first word is the likeliest one; a model that finds it a likely answer,
but no single answer likelier word by word, guesses; and it refuses where no answer begins with a likelier word, though
all answers together are likelier. A threshold that was chosen on questions with known answers decides instead, before
anything is decoded (docs/evaluation.md); below it, what is decoded is the likeliest of all else
(`decoding.SuppressedSequence`). Knows no model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sharedllm_cli.documents.chunking import plain_ids
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT, Turn
from sharedllm_cli.retrieval.terms import fold

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SOURCE = r"(?:documents?|passages?|texts?|context|stor(?:y|ies)|articles?|pages?|(?:provided |given )?information)"
_SUBJECT = rf"(?:(?:im |i am )?sorry )?(?:but )?(?:the |this |these )?{_SOURCE}(?: (?:provided|given|above))?"
_NOT = r"(?!.* (?:but|however|although|though) ) (?:(?:does|do|did) not|doesnt|dont|didnt|cannot)"
_NO_ANSWER = re.compile(
    rf"{_SUBJECT}{_NOT} (?:give|provide|contain|hold|include|offer|have)"
    r"(?: (?:a|an|any|enough|the|this|that|specific|detailed|clear|direct|explicit|exact|sufficient))*"
    r" (?:answer|information)\b.*"
)
"""A first sentence that refuses, whatever follows."""
_DOES_NOT_SAY = re.compile(
    rf"{_SUBJECT}{_NOT} (?:say|state|tell|mention|specify|answer|explain|give|provide|contain|hold|include|indicate)"
    r"(?: (?:so|it|this|that|(?:an|the|this|that) (?:answer|question|information)(?: to (?:the|this|that) question)?"
    r"|(?:who|whom|whose|what|when|where|which|why|how|whether|if)\b.*))?"
    rf"|(?:the answer|it|this|that) (?:is|was) not (?:in|mentioned in|stated in|given in|found in) the {_SOURCE}"
)
"""A refusal only where it is the whole answer: it could be a part of the answer as well."""
_SENTENCE_END = re.compile(r"[.!?…。！？]+(?:[\"'”’)]*)(?:\s+|$)|\n+")
_NOT_FOUND = "Not found in the passages read"


def refusal_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens of the agreed sentence and the one that ends an answer, where the tokenizer has one."""
    end = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    return [*plain_ids(tokenizer, NOT_IN_DOCUMENT), *end]


def refuses(nll: float, threshold: float | None) -> bool:
    """Whether a sentence that costs so many nats is said: from this probability on; None leaves it to decoding."""
    return threshold is not None and math.exp(-nll) >= threshold


def not_found(read: int, tokens: int) -> str:
    """What is answered where the passages that were read, so many tokens of all, hold no answer."""
    return f"{_NOT_FOUND} ({read:,} of {tokens:,} tokens)."


def as_model_says(history: Sequence[Turn]) -> list[Turn]:
    """Earlier turns in the words of the model, which says in one sentence alone that it finds nothing."""
    return [replace(turn, answer=NOT_IN_DOCUMENT) if says_not_found(turn.answer) else turn for turn in history]


def says_not_in_document(answer: str) -> bool:
    """True where an answer begins with the agreed sentence, or is or begins with a plain variant of it."""
    if says_not_found(answer):
        return True
    first = bare(_SENTENCE_END.split(answer.strip(), maxsplit=1)[0])
    if first == bare(NOT_IN_DOCUMENT) or _NO_ANSWER.fullmatch(first):
        return True
    return _DOES_NOT_SAY.fullmatch(bare(answer)) is not None


def says_not_found(answer: str) -> bool:
    """Whether an answer is `not_found`, which counts the passages that were read."""
    return answer.startswith(_NOT_FOUND)


def bare(text: str) -> str:
    """Lower-case words with single spaces; no punctuation, quotes or marks."""
    return " ".join(re.findall(r"\w+", re.sub("['’]", "", fold(text.lower()))))
