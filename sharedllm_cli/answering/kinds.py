"""The kind of a question, which decides the form of its answer and the rule that asks for that form.

Training and `ask` read the kind off the same words, so that a model meets in use the rules it has learned. Knows words;
no model and no document.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from sharedllm_cli.answering.wording import asks_yes_no
from sharedllm_cli.generation.prompt import RULE


class Kind(StrEnum):
    """What form the answer to a question has."""

    SHORT = "short"
    """A name, a number, a place: a few words."""
    YES_NO = "yes_no"
    """Yes or no, with the sentence that settles it."""
    EXPLANATION = "explanation"
    """Why, how, what something means or does: a sentence."""
    STEPS = "steps"
    """How to do something: what to do, in order."""
    SUMMARY = "summary"
    """What something is about: several sentences."""


RULES: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.SHORT: RULE,
        Kind.YES_NO: "Answer yes or no, then give the reason from the text.",
        Kind.EXPLANATION: "Answer in a sentence from the text.",
        Kind.STEPS: "Answer with what to do, from the text.",
        Kind.SUMMARY: "Answer in a few sentences from the text.",
    }
)
"""What stands after a question of each kind in the prompt."""

_LEADING = r"(?:[^?:,]*[:,]\s+|(?:please|and|but|so|then)\s+)?"
"""What may stand before the question itself: the title that it names, or a joining word."""
_PERSON = r"(?:i|we|you|one|users?|someone|somebody)"
_SUMMARY = re.compile(
    r"\b(?:summar(?:y|i[sz]e\w*)|overview|the plot|main (?:points?|ideas?|topics?) of)\b"
    r"|\bwhat(?:'s| is| are| was)(?: the)? (?:\w+ ){1,3}(?:mainly )?about(?:\s*\(|\s*\?|\s*$)",
    re.IGNORECASE,
)
_STEPS = re.compile(
    rf"\s*{_LEADING}(?:(?:explain|tell me|show me|describe) )?how to\b"
    rf"|.*\b(?:how (?:do|can|could|should|would|must)|what (?:do|must|should|can)) {_PERSON}\b"
    r"|.*\b(?:steps?|procedure|instructions?) (?:to|for)\b",
    re.IGNORECASE,
)
_EXPLANATION = re.compile(
    r"\bwhy\b|\bhow come\b|\b(?:explain|describe)\b|\bin what way\b"
    r"|\bwhat (?:does|do|did|is|are|was|were) .+ (?:do|mean|for|happen)\s*(?:\(|\?|$)"
    r"|\bwhat (?:is|are|was|were) (?:the (?:reasons?|purposes?|causes?|differences?)|meant by)\b"
    r"|\bwhat (?:is|are) (?:an?|any) [^?]*\?"
    r"|\bhow (?:do|does|did|is|are|was|were|can|could|will|would|should|has|have|had)\b"
    r"(?!.*\b(?:feel|felt|called|named)\b)",
    re.IGNORECASE,
)


def kind_of(question: str) -> Kind:
    """The kind of a question, by its words; one that fits no other kind is short."""
    if _SUMMARY.search(question):
        return Kind.SUMMARY
    if _STEPS.match(question):
        return Kind.STEPS
    if asks_yes_no(question):
        return Kind.YES_NO
    return Kind.EXPLANATION if _EXPLANATION.search(question) else Kind.SHORT


def rule_for(question: str) -> str:
    """The rule that stands after a question in the prompt."""
    return RULES[kind_of(question)]
