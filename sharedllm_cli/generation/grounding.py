"""Does an answer stand on what the model was shown? Plain functions over text; no model.

They warn rather than judge: an answer in other words than the document's is no fault, a number or name that the
passages do not hold may be one. `docs/log/` says how often they are wrong.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sharedllm_cli.generation.refusal import bare, says_not_in_document
from sharedllm_cli.generation.stream import Finish
from sharedllm_cli.retrieval.languages import ASKING_WORDS, KIND_WORDS, detect_language
from sharedllm_cli.retrieval.terms import PAIRED_SCRIPT, SHARED_BEGINNING, Word, same_word, words

_Kind = Literal["number", "name", "identifier", "ordinary"]

_ANNOUNCED = re.compile(r".*\b(?:answer|question)\b.*:|(?:[^\s:]+ ){3,}[^\s:]+:", re.IGNORECASE)
"""`The answer to this question is:`, `The main points are:`, and nothing after it."""
_SPELLED = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_NUMBER_WORDS = {word: str(number) for number, word in enumerate(_SPELLED.split())}
_ABOUT_ITSELF = "answer question document text passage"
"""Words with which an answer speaks of itself (`the answer to this question is`) claim nothing."""
_ASKED_HOW = re.compile(
    r"\bhow (many|much|long|far|old|often|big|tall|high|deep|wide|large|small|fast|soon|late|early|heavy|well)\b",
    re.IGNORECASE,
)
"""`how many`, `how long`: the second word asks, and a document need not hold it."""

_ANY_NUMBER = re.compile(
    r"\d[\d.,]*|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty|thirty|forty|fifty|"
    r"sixty|seventy|eighty|ninety|hundred|thousand|dozen|no|none|both|eine?|zwei|drei|vier|fünf|sechs|sieben|acht|neun|"
    r"zehn|elf|zwölf|une?|deux|trois|quatre|cinq|sept|huit|neuf|dix)\b",
    re.IGNORECASE,
)
_ITEM = re.compile(r"^[ \t]*(?:\(?\d{1,3}[.)]|step \d{1,3}[.:])[ \t]+", re.IGNORECASE | re.MULTILINE)
"""The number of a list's item at the beginning of a line."""
_BETWEEN = 3
"""Words that may stand between a number and what it counts (`210 full turns`)."""
_CUT: dict[Finish, str] = {
    "length": "the answer stops at its longest length (--max-new-tokens)",
    "repetition": "the answer was stopped because the model began to repeat itself",
}


@dataclass(frozen=True)
class AnswerCheck:
    """Whether the question counts as answered, if not why, and what the reader should know."""

    answered: bool
    reason: str | None
    warnings: tuple[str, ...]


def assess(
    question_words: Collection[str],
    matched_words: Collection[str],
    answer: str,
    *,
    question: str = "",
    other_forms: Collection[str] = (),
    evidence_text: str = "",
    finish: Finish = "stop",
    language: str | None = None,
    read: str = "the passages",
) -> AnswerCheck:
    """Judge an answer by what can be known without another model.

    `question_words` are the question's content words as typed and `matched_words` those that the documents hold
    (`terms` and `matched` of `retrieval/bm25.py: LexicalScores`); `other_forms` are words that they hold in another
    form alone, which are not warned of, and neither is what only asks (`how many`). Not answered: the answer is empty,
    announced and not given, the question again, says that the document does not say, or none of the question's words
    occurs anywhere. `read` says what the model has read. Warnings name what the documents or the passages do not hold;
    the passages are checked only where there are any.
    """
    warnings = [_CUT[finish]] if finish in _CUT else []
    missing = [word for word in question_words if word not in matched_words]
    if not answer.strip():
        return AnswerCheck(False, "the model gave no answer", tuple(warnings))
    if says_not_in_document(answer):
        return AnswerCheck(False, f"the model finds no answer in {read}", tuple(warnings))
    if _ANNOUNCED.fullmatch(answer.strip()):
        return AnswerCheck(False, "the model announced an answer and gave none", tuple(warnings))
    if _echoes(answer, question):
        return AnswerCheck(False, "the model repeated the question and gave no answer", tuple(warnings))
    if question_words and len(missing) == len(question_words):
        return AnswerCheck(
            False, f"the documents hold none of the question's words: {', '.join(missing)}", tuple(warnings)
        )
    asking = {word.lower() for word in _ASKED_HOW.findall(question)}
    asking |= ASKING_WORDS | KIND_WORDS
    strange = [word for word in missing if word not in other_forms and word.lower() not in asking]
    if strange:
        warnings.append(f"words of the question that the documents do not hold: {', '.join(strange)}")
    if evidence_text.strip():
        unsupported = unsupported_words(answer, evidence_text, question=question, language=language)
        if unsupported:
            warnings.append(f"words of the answer that the passages do not hold: {', '.join(unsupported)}")
    return AnswerCheck(True, None, tuple(warnings))


def states_number(answer: str, thing: str, passages: str, language: str) -> bool:
    """Whether some passage states the answer's number of the thing (`210 turns`), so that nothing had to be counted."""
    counted = {term for word in words(thing, language) for term in word.terms}
    numbers = {found.group().lower() for found in _ANY_NUMBER.finditer(answer)}
    if not counted or not numbers:
        return False
    said = list(words(passages, language))
    for place, word in enumerate(said):
        if word.surface.lower() in numbers:
            near = said[place + 1 : place + 2 + _BETWEEN]
            if any(counted & set(other.terms) for other in near):
                return True
    return False


def _echoes(answer: str, question: str) -> bool:
    """True where every line of an answer is the question (`Question: …`, `Answer: …`)."""
    asked = bare(question)
    lines = (bare(line).removeprefix("question ").removeprefix("answer ") for line in answer.splitlines())
    return bool(asked) and all(line in (asked, "question", "answer", "") for line in lines)


def unsupported_words(answer: str, evidence_text: str, *, question: str = "", language: str | None = None) -> list[str]:
    """Words of the answer that occur neither in the evidence nor in the question, as typed, each once, in order.

    Numbers, names (capitalised within a sentence) and identifiers always; other content words only when they are most
    of the answer's. Case, accents, endings and the spelling of small numbers don't matter, and the numbers of a list's
    items claim nothing.
    """
    answer = without_item_numbers(answer)
    language = language or detect_language(evidence_text)
    known = _Known(f"{evidence_text}\n{question}\n{_ABOUT_ITSELF}", language)
    claims = [_Claim(word.surface, _terms(word), _kind(word, answer)) for word in words(answer, language)]
    lacking = [claim for claim in claims if claim.terms and not known.supports(claim)]
    ordinary = [claim for claim in claims if claim.terms and claim.kind == "ordinary"]
    mostly_lacking = sum(claim.kind == "ordinary" for claim in lacking) * 2 > len(ordinary)
    told = [claim.surface for claim in lacking if mostly_lacking or claim.kind != "ordinary"]
    return list(dict.fromkeys(told))


def without_item_numbers(text: str) -> str:
    """A text without the numbers of its items, where it is a list of several lines or a single item."""
    items = len(_ITEM.findall(text))
    return _ITEM.sub("", text) if items > 1 or (items and "\n" not in text.strip()) else text


class _Claim(NamedTuple):
    surface: str
    terms: tuple[str, ...]
    kind: _Kind


class _Known:
    """The terms of the evidence, with their beginnings for words in another form."""

    def __init__(self, text: str, language: str) -> None:
        self.terms = {term for word in words(text, language) for term in _terms(word)}
        self._beginnings: dict[str, list[str]] = {}
        for term in self.terms:
            self._beginnings.setdefault(term[:SHARED_BEGINNING], []).append(term)

    def supports(self, claim: _Claim) -> bool:
        """The word itself or all its parts; of a script without spaces any part, since a run is a whole sentence.

        An ordinary word may stand in another form (decided, decision); a name may not (Johnson, Johnston).
        """
        held = [term in self.terms or (claim.kind == "ordinary" and self._other_form(term)) for term in claim.terms]
        if PAIRED_SCRIPT.search(claim.surface):
            return any(held)
        return held[0] or (len(held) > 1 and all(held[1:]))

    def _other_form(self, term: str) -> bool:
        return any(same_word(term, other) for other in self._beginnings.get(term[:SHARED_BEGINNING], ()))


def _terms(word: Word) -> tuple[str, ...]:
    spelled = _NUMBER_WORDS.get(word.surface.lower())
    return (spelled,) if spelled else word.terms


def _kind(word: Word, text: str) -> _Kind:
    surface = word.surface
    if any(character.isdigit() for character in surface):
        return "identifier" if any(character.isalpha() for character in surface) else "number"
    if re.search(r"[_(/:]|[a-z][A-Z]", surface) or surface.startswith("-"):
        return "identifier"
    before = text[: word.start].rstrip(" \t\"'“‘([*")
    begins_sentence = not before or before[-1] in ".!?:…\n"
    return "name" if surface[0].isupper() and not begins_sentence else "ordinary"
