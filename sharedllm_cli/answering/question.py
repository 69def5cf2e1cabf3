"""A question with all that is settled before anything is searched: its wording, the pages, the settings that apply.

Flags, adapter and defaults are resolved here once (`Question.of`); nothing below asks for them again. What is sampled
and stored is as in `settings`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sharedllm_cli.answering.addresses import Asked, Place, place_of, section_remarks, section_tokens
from sharedllm_cli.answering.kinds import RULES, Kind, rule_for
from sharedllm_cli.answering.wording import Wording
from sharedllm_cli.config import Settings
from sharedllm_cli.documents.pages import PageRange
from sharedllm_cli.errors import UsageError
from sharedllm_cli.generation.prompt import RULE, Turn
from sharedllm_cli.model.shared import SharedModel
from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.reading.sources import TokenRanges, allowed_tokens
from sharedllm_cli.retrieval import bm25

if TYPE_CHECKING:
    from sharedllm_cli.answering.tally_wording import Comparison

_FEW_MATCHES = 2
"""A question with fewer words than this that the documents hold is searched for together with the one before it."""

Pages = PageRange | str | tuple[int, int] | None


@dataclass(frozen=True)
class Question:
    """One question to some documents.

    `allowed`: the tokens of each document that may be read (None: all); `page_remarks`: how `--pages`, `--section` and
    the place that the question names were understood. `place`: that place, if it names one.
    `compared`: what it wants compared, if these are documents: passages come from each of them in turn, and no other.
    `rule` stands after the question in the prompt: that of its kind, unless the adapter learned a single one.
    `policy` and `reads_tree` are those of the settings and the adapter, unless an evaluation says otherwise.
    `budget`: tokens of verbatim passages. `refuse_from`: the refusal is given from this probability on (None: decoding
    decides). `beams`: candidate answers that are compared. `extractive_only`: the adapter answers from single places
    alone, so that other questions take other routes. `judges`: it learned to answer yes or no with the reason.
    `answer_tokens`: room for the answer in the window; the answer itself has at most `--max-new-tokens`.
    """

    text: str
    wording: Wording
    history: tuple[Turn, ...]
    allowed: list[TokenRanges | None]
    page_remarks: list[str]
    settings: Settings
    policy: str
    budget: int
    reads_tree: bool
    refuse_from: float | None
    beams: int
    extractive_only: bool
    judges: bool
    answer_tokens: int
    rule: str
    place: Place | None = None
    compared: Comparison | None = None

    @staticmethod
    def of(
        text: str,
        documents: Sequence[OpenDocument],
        shared: SharedModel,
        settings: Settings,
        *,
        history: Sequence[Turn] = (),
        pages: Pages = None,
        section: str | None = None,
    ) -> Question:
        """Resolve a question; UsageError for an empty one, and for pages or sections that the documents do not have."""
        if not text.strip():
            raise UsageError("the question is empty")
        allowed, page_remarks = allowed_tokens(documents, pages)
        if section is not None:
            allowed = _both(allowed, section_tokens(section, documents))
            page_remarks += section_remarks(section, documents)
            if not any(allowed):
                raise UsageError(f"--section {section}: nothing of it is on these pages")
        place = place_of(text, documents)
        if place is not None and place.asked in (Asked.WITHIN, Asked.CONTENT):
            inside = _both(allowed, list(place.ranges))
            place = place if any(inside) else None
            allowed = inside if place else allowed
            page_remarks += [place.remark] if place and place.remark else []
        compared, named = _compared(text, documents) if len(documents) > 1 else (None, [])
        if compared is not None:
            inside = _both(allowed, [None if place in named else [] for place in range(len(documents))])
            compared = compared if any(ranges is None or ranges for ranges in inside) else None
            allowed = inside if compared else allowed
            page_remarks += [_compared_remark(documents, named)] if compared else []
        return Question(
            text=text,
            wording=Wording.of(text, follows=bool(history)),
            history=tuple(history),
            allowed=allowed,
            page_remarks=page_remarks,
            settings=settings,
            policy=settings.policy,
            budget=shared.passage_budget(settings),
            reads_tree=shared.reads_tree(settings),
            refuse_from=shared.refuse_from(settings),
            beams=shared.candidates(settings),
            extractive_only=shared.extractive_only(settings),
            judges=shared.answers_by_kind,
            answer_tokens=settings.max_new_tokens,
            rule=rule_for(text) if shared.answers_by_kind else RULE,
            place=place,
            compared=compared,
        )

    @property
    def asks_for_verdict(self) -> bool:
        """Whether the model is to begin with yes or no."""
        return self.judges and self.rule == RULES[Kind.YES_NO]

    def query(self, documents: Sequence[OpenDocument]) -> str:
        """What is searched for: the topic that the question names, else the question.

        A question that leans on the one before it (`and when?`) is searched for together with that one.
        """
        text = self.place.question if self.place and self.place.question else self.text
        if self.compared is not None and self.compared.subject:
            return self.compared.subject
        if self.wording.topic or not self.history:
            return self.wording.topic or text
        matches = bm25.scores(text, [opened.leaves.lexical for opened in documents])
        alone = len(matches.matched) >= _FEW_MATCHES or (not matches.terms and self.wording.whole)
        return text if alone else f"{self.history[-1].question} {text}"


def _compared(question: str, documents: Sequence[OpenDocument]) -> tuple[Comparison | None, list[int]]:
    """The comparison that a question asks for and its documents, by place; none where not each thing is one of them."""
    from sharedllm_cli.answering.routing import may_ask_for_a_tally

    if not may_ask_for_a_tally(question):
        return None, []
    from sharedllm_cli.answering.tally_wording import comparison_asked
    from sharedllm_cli.reading.naming import documents_named

    compared, names = comparison_asked(question), [opened.name for opened in documents]
    found = [documents_named(thing, names) for thing in compared.things] if compared else []
    named = [places[0] for places in found if len(places) == 1]
    return (compared, named) if compared and len(named) == len(found) else (None, [])


def _compared_remark(documents: Sequence[OpenDocument], named: Sequence[int]) -> str:
    names = [documents[place].name for place in named]
    return f"compared: passages are from {', '.join(names[:-1])} and {names[-1]} in turn, and from no other document"


def _both(one: Sequence[TokenRanges | None], other: Sequence[TokenRanges | None]) -> list[TokenRanges | None]:
    """The tokens of each document that both allow (None: all)."""
    joined: list[TokenRanges | None] = []
    for mine, yours in zip(one, other, strict=True):
        if mine is None or yours is None:
            joined.append(yours if mine is None else mine)
            continue
        spans = ((max(a, c), min(b, d)) for a, b in mine for c, d in yours)
        joined.append(sorted((first, end) for first, end in spans if first < end))
    return joined
