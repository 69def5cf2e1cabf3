"""Questions to opened documents without a model, for tests of what is decided before one is asked."""

from __future__ import annotations

from typing import Any

from open_documents import scored

from sharedllm_cli.answering.question import Question
from sharedllm_cli.answering.wording import Wording
from sharedllm_cli.config import Settings
from sharedllm_cli.generation.prompt import RULE, Turn
from sharedllm_cli.reading.evidence import Evidence, EvidenceSelector
from sharedllm_cli.reading.library import OpenDocument


def question(text: str, documents: int = 1, history: tuple[Turn, ...] = (), **changes: Any) -> Question:
    """A question as the default model's adapter has it: passages alone, single places alone."""
    given: dict[str, Any] = {
        "text": text,
        "wording": Wording.of(text, follows=bool(history)),
        "history": history,
        "allowed": [None] * documents,
        "page_remarks": [],
        "settings": Settings(),
        "policy": "hybrid",
        "budget": 384,
        "reads_tree": False,
        "refuse_from": 0.3,
        "beams": 4,
        "extractive_only": True,
        "judges": False,
        "answer_tokens": 256,
        "rule": RULE,
    }
    return Question(**(given | changes))


def selected(asked: Question, *documents: OpenDocument) -> tuple[EvidenceSelector, Evidence]:
    """The passages for a question, by its words."""
    found = scored(asked.query(documents), *documents)
    selector = EvidenceSelector(documents, found, asked.budget, front=asked.wording.front_matter)
    return selector, selector.best()
