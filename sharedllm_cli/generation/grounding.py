"""Does an answer rest on what the model was shown, and where? Knows words and sources; no model and no torch.

They warn rather than judge: an answer in other words than the document's is no fault, a number or name that the
passages do not hold may be one. `docs/log/` says how often they are wrong. A sentence of an answer rests on the source
that has most of its words, rare words counting more (`Citations`); an answer of a few words on the place among the
question's words (`Nearness`).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from sharedllm_cli.answer import AnswerSentence, Source
from sharedllm_cli.generation.refusal import bare, says_not_in_document
from sharedllm_cli.retrieval.boundaries import split_sentences
from sharedllm_cli.retrieval.tables import BAR
from sharedllm_cli.retrieval.terms import (
    ALTERNATIVES,
    ASKING_WORDS,
    KIND_WORDS,
    PAIRED_SCRIPT,
    SHARED_BEGINNING,
    Word,
    asks_about_the_whole,
    detect_language,
    same_word,
    words,
)

if TYPE_CHECKING:
    from sharedllm_cli.generation.stream import Finish

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


WINDOW = 15
"""Terms before an answer's place and after it that count as its neighbours (chosen with NATS: docs/log/)."""
LONGEST_ROW = 200
"""Terms of a row of a table on either side of a value that are looked at."""
OTHER_COLUMN = 2
"""A value of a row that names its columns loses so many terms where other columns have words of the question."""
_QUOTED = re.compile(r"[\"“„«][^\"“”„«»]*[\"”“»]")


class Nearness:
    """How many of a question's words stand near an answer in some passages."""

    def __init__(self, question: str, passages: Sequence[str]) -> None:
        language = detect_language("\n".join(passages))
        self._language = language
        self._passages = [self._terms(passage) for passage in passages]
        self._cells = [self._cells_of(passage, held) for passage, held in zip(passages, self._passages, strict=True)]
        held = {term for terms in self._passages for term in terms}
        asked = [word for word in words(question, language) if word.terms]
        matched = [word.surface for word in asked if held.intersection(word.terms)]
        whole = not matched or asks_about_the_whole(question, [word.surface for word in asked], matched)
        self._asked = set() if whole else {term for word in asked for term in word.terms}
        # What stands in quotation marks may name a part of the document, and be the answer all the same.
        said = list(words(_QUOTED.sub(" ", question), language))
        between = ALTERNATIVES[language] | ALTERNATIVES[detect_language(question)]
        offers = any(word.surface.lower() in between for word in said)
        self._said = set() if offers else {term for word in said for term in word.terms}

    @property
    def tells(self) -> bool:
        """Whether it could tell answers apart: the passages hold a word of the question, which asks for a place."""
        return bool(self._asked)

    def __call__(self, answer: str) -> float:
        """The share of the question's terms, from 0 to 1, within 15 terms of the answer, where that is largest.

        Of a value in a row of a table only the row's words are near.
        0 where the answer stands in no passage word for word (case, accents, endings and punctuation aside), or the
        question has no words but stop words, or asks about the whole. An answer of stop words (`no`) stands everywhere,
        which tells nothing: 0, too.
        """
        return max((share or 0.0 for share in self.shares(answer)), default=0.0)

    def repeats(self, answer: str) -> bool:
        """Whether an answer says nothing but words of the question, which offers no choice between them (`or`)."""
        terms = {term for word in words(answer, self._language) for term in word.terms}
        return bool(terms) and terms <= self._said

    def shares(self, answer: str) -> list[float | None]:
        """The same for each of the passages; None for those that do not hold the answer."""
        sought = self._terms(answer)
        if not any(word.terms for word in words(answer, self._language)):
            return [None] * len(self._passages)
        found = [self._near(sought, *held) for held in zip(self._passages, self._cells, strict=True)]
        return [None if near is None else near / max(1, len(self._asked)) for near in found]

    def _near(self, sought: Sequence[str], terms: Sequence[str], cells: Sequence[tuple[int, int]]) -> float | None:
        best, length = None, len(sought)
        for start in range(len(terms) - length + 1):
            if terms[start] == sought[0] and terms[start : start + length] == sought:
                end = start + length
                if cells and cells[start][0] >= 0:
                    near = self._in_row(start, end, terms, cells)
                else:
                    near = len(self._asked & {*terms[max(0, start - WINDOW) : start], *terms[end : end + WINDOW]})
                best = max(best or 0, near)
        return best

    def _in_row(self, start: int, end: int, terms: Sequence[str], cells: Sequence[tuple[int, int]]) -> float:
        """The question's terms in the row of a value: fewer count where they are in two other cells or more."""
        row, cell = cells[start]
        first, last = max(0, start - LONGEST_ROW), min(end + LONGEST_ROW, len(terms))
        beside = [place for place in (*range(first, start), *range(end, last)) if cells[place][0] == row]
        asked = [place for place in beside if terms[place] in self._asked]
        named = {cells[place][1] for place in asked}  # the cell of the row's name, and that of the column asked for
        elsewhere = cell >= 0 and cell not in named and len(named) > 1
        return len({terms[place] for place in asked}) - (OTHER_COLUMN if elsewhere else 0)

    def _cells_of(self, text: str, terms: Sequence[str]) -> list[tuple[int, int]]:
        """Of each term its row in a table and, if the row names its columns, its cell, by number; -1 for none.

        What stands in the row above or below says nothing of a value. Empty for a text without rows.
        """
        if BAR not in text:
            return []
        found: list[tuple[int, int]] = []
        cell = 0
        for row, line in enumerate(text.split("\n")):
            for piece in line.split(BAR):
                cell += 1
                names = line.count(": ") > line.count(BAR)
                found += [(row if BAR in line else -1, cell if names else -1)] * len(self._terms(piece))
        return found if len(found) == len(terms) else []

    def _terms(self, text: str) -> list[str]:
        """The text's terms in order; stop words, which have none, as they are."""
        return [term for word in words(text, self._language) for term in word.terms or (word.surface.lower(),)]


_YES_OR_NO = re.compile(r"(?:yes|no|ja|nein|oui|non|sí|sì|si|sim|não|nee)\W*", re.IGNORECASE)
"""A sentence that claims nothing that could stand in the passages."""
LEAST_SHARE = 0.5
"""A sentence rests on a source only if that has this share of its words, by weight."""
SECOND_SHARE = 0.25
"""A second source is named if it has this share of the words that the first one lacks, by weight."""


class Citations:
    """The sentences of one answer and their sources, as the answer grows.

    `found`: the sources that the model has read, best first. `evidence_text`: the words that it has read, against which
    names and numbers are checked; empty where they can't be (a tree was read).
    """

    def __init__(self, found: Sequence[Source], evidence_text: str, question: str) -> None:
        self._found = [source for source in found if source.read]
        self._evidence_text = evidence_text
        self._question = question
        self._language = detect_language(evidence_text or "\n".join(source.quote for source in self._found))
        self._terms = [self._terms_of(source.quote) for source in self._found]
        held = Counter(term for terms in self._terms for term in terms)
        self._weights = {term: math.log(1 + len(self._found) / count) for term, count in held.items()}
        self._rarest = math.log(1 + len(self._found))
        self._order: list[int] = []
        self.sentences: list[AnswerSentence] = []
        self._text = ""
        self._shown = self._begun = 0  # characters yielded, and before the sentence that is being written

    def push(self, piece: str) -> Iterator[str | AnswerSentence]:
        """The next piece of the answer: text to show, and each sentence behind its last word once another begins.

        White space is held back until a word follows, so that a mark stands right behind the sentence.
        """
        self._text += piece
        while len(sentences := split_sentences(self._text[self._begun :])) > 1:
            end = self._text.index(sentences[0], self._begun) + len(sentences[0])
            yield from self._show(end)
            yield self._ended(sentences[0])
            self._begun = end
        yield from self._show(len(self._text.rstrip()))

    def finish(self) -> Iterator[str | AnswerSentence]:
        """The last sentence, unless it is the only one; call it once, after the last piece."""
        last = self._text[self._begun :].strip()
        if last:
            ended = self._ended(last)
            if len(self.sentences) > 1:
                yield ended

    def _show(self, end: int) -> Iterator[str]:
        if end > self._shown:
            yield self._text[self._shown : end]
            self._shown = end

    def arranged(self, sources: Sequence[Source]) -> list[Source]:
        """The sources in the order of their numbers, as those that the answer rests on; the others behind them."""
        cited = [replace(self._found[place], supports=True) for place in self._order]
        others = [replace(source, supports=False) for source in sources]
        return [*cited, *(source for source in others if replace(source, supports=True) not in cited)]

    @property
    def cites(self) -> bool:
        """Whether several sentences were written of which some rest on a source."""
        return len(self.sentences) > 1 and bool(self._order)

    def _ended(self, text: str) -> AnswerSentence:
        numbers = []
        for place in self._places(text):
            if place not in self._order:
                self._order.append(place)
            numbers.append(self._order.index(place) + 1)
        strange = []
        if self._evidence_text.strip() and not _YES_OR_NO.fullmatch(text.strip()):
            strange = unsupported_words(text, self._evidence_text, question=self._question, language=self._language)
        self.sentences.append(AnswerSentence(text, sorted(numbers), strange))
        return self.sentences[-1]

    def _places(self, sentence: str) -> list[int]:
        """The one or two sources of a sentence, by their place in `found`; none where none has half of its words."""
        wanted = {term: self._weights.get(term, self._rarest) for term in self._terms_of(sentence)}
        whole = sum(wanted.values())
        if not whole:
            return []
        first = self._best(wanted)
        if first is None or self._share(wanted, first) < LEAST_SHARE * whole:
            return []
        lacking = {term: weight for term, weight in wanted.items() if term not in self._terms[first]}
        second = self._best(lacking) if lacking else None
        if second is None or self._share(lacking, second) < SECOND_SHARE * whole:
            return [first]
        return [first, second]

    def _best(self, wanted: dict[str, float]) -> int | None:
        places = range(len(self._found))
        return max(places, key=lambda place: (self._share(wanted, place), -place), default=None)

    def _share(self, wanted: dict[str, float], place: int) -> float:
        return sum(weight for term, weight in wanted.items() if term in self._terms[place])

    def _terms_of(self, text: str) -> set[str]:
        return {term for word in words(text, self._language) for term in word.terms}
