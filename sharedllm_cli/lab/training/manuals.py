"""Questions about how to do things, made from headed manuals: a section's title asks, its opening or steps answer.

    python -m sharedllm_cli.lab.training.manuals --manual git=git-doc/html --manual tags=beets/html --out manuals.jsonl
    python -m sharedllm_cli.lab.training.manuals --manual mail=mutt/html --questions 200 --taken-out 50 --out dev.jsonl

A manual is a folder of HTML pages, read by the reader of the product. `--taken-out` asks, besides, for sections that
were taken out of their document: such questions have no answer.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sharedllm_cli.answering.kinds import Kind, kind_of
from sharedllm_cli.documents.readers import read
from sharedllm_cli.documents.sources import SourceFile, expand
from sharedllm_cli.errors import DocumentError, exit_with
from sharedllm_cli.lab.training.reasons import sentences
from sharedllm_cli.retrieval.sections import Titled, headings
from sharedllm_cli.retrieval.terms import words

DOCUMENT_WORDS = 7000
"""A manual is cut into documents of about so many words, between sections."""
LEAST_WORDS, MOST_WORDS = 8, 120
"""Of an answer. Steps that are longer are left out whole: half of them answer nothing."""
OPENING_WORDS = 45
"""An opening goes on, sentence by sentence, until it has so many."""

VERB_SHARE = 0.12
"""A word is a verb if this share of its uses follows `to`."""

_NUMBERING = re.compile(
    r"^(?:(?:chapter|appendix|part|section)\s+)?(?:\d+(?:\.\d+)*|[A-Z]\.\d+(?:\.\d+)*|[IVX]+)[.:)]?\s+", re.IGNORECASE
)
_REMARK = re.compile(r"\s*\((?:how-?to|optional|advanced|continued)\)\s*$|[¶#\s]+$", re.IGNORECASE)
_NAVIGATION = re.compile(
    r"<<<|>>>|^(?:next|prev(?:ious)?|up|home|contents|index|table of contents|note|tip|warning|important)\b[ :|]*$"
    r"|\[contents\]|\bnext:|\bprev(?:ious)?\b.*\||\|\s*(?:next|up|home)\b|debug info|^quick search|\bpermalink\b",
    re.IGNORECASE,
)
_INDEX_PAGE = re.compile(r"(?:gen)?index-|genindex|search\b|ix01")
_STEP = re.compile(r"^(?:\d{1,2}|[a-z])[.)]\s+\S")
_STARTS = re.compile(r"^(?:how (?:do (?:i|you)|can (?:i|you)) |how to |to )(?P<rest>[a-z].*)$", re.IGNORECASE)
_GERUND = re.compile(r"^(?P<verb>[A-Z][a-z]+ing)\b(?P<rest> .+)$")
_ASKS = re.compile(r"^(?:what|why|how|when|where|which|who|can|do|does|is|are|should)\b.*\?$", re.IGNORECASE)
_DEFINES = re.compile(r"\b(?:is|are|allows?|lets?|provides?|means|refers?|describes?|contains?|consists?|enables?)\b")
_TELLS = re.compile(
    r"\b(?:you|your|use|click|choose|select|press|open|type|enter|run|set|add|install|create|command|option|to)\b", re.I
)
_STEP_FORMS = ("How do I {}?", "How can I {}?", "How to {}?", "How do you {}?", "What do I have to do to {}?")
_MEANING_FORMS = ("What is {}?", "What does {} mean?", "Explain {}.", "What is meant by {}?")


@dataclass(frozen=True)
class Section:
    """A section of a manual: its title, its level (1 is the highest) and its paragraphs, less those of subsections."""

    title: str
    level: int
    paragraphs: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n\n".join((self.title, *self.paragraphs))


@dataclass(frozen=True)
class Pair:
    """What a section is asked, and the paragraphs or sentences of it that answer, from `start` to `end` in its text."""

    question: str
    answer: str
    start: int
    end: int


def sections(pages: Iterable[Path]) -> Iterator[Section]:
    """The sections of a manual's pages, in order; pages that can't be read and lines of navigation are left out."""
    for page in pages:
        try:
            document = read(SourceFile(page.name, page))
        except DocumentError:
            continue
        outline = tuple((one.title, one.level, 0) for one in document.outline)
        found = list(headings(Titled(document.name, document.text, outline))) if outline else []
        ends = [*(one.start for one in found[1:]), len(document.text)][: len(found)]
        for heading, end in zip(found, ends, strict=True):
            body = document.text[heading.start : end].strip()[len(heading.title) :]
            paragraphs = tuple(_paragraphs(body))
            title = _REMARK.sub("", _NUMBERING.sub("", heading.title.strip()))
            if title and paragraphs:
                yield Section(title, heading.level, paragraphs)


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text):
        kept = "\n".join(
            line.strip() for line in paragraph.splitlines() if line.strip() and not _NAVIGATION.search(line)
        )
        if kept:
            yield kept


class Verbs:
    """What is a verb in the manuals' own words: what often follows `to`; of a gerund the form that they use most."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._counts: Counter[str] = Counter()
        self._after_to: Counter[str] = Counter()
        for text in texts:
            self._counts.update(re.findall(r"[a-z]+", text))
            self._after_to.update(re.findall(r"\bto ([a-z]+)", text))

    def __contains__(self, word: str) -> bool:
        return self._after_to[word] >= 3 and self._after_to[word] > VERB_SHARE * self._counts[word]

    def of(self, gerund: str) -> str | None:
        """`Creating` → `create`, `Setting` → `set`; None where no form is known."""
        stem = gerund.lower()[:-3]
        forms = [stem, stem + "e"]
        if len(stem) > 3 and stem[-1] == stem[-2]:
            forms.append(stem[:-1])
        best = max(forms, key=lambda form: self._counts[form])
        return best if best in self else None


def pair(section: Section, verbs: Verbs, random: np.random.Generator) -> Pair | None:
    """The question and answer of a section; None where its title asks nothing or nothing in it answers."""
    asked = question(section.title, verbs, random)
    if asked is None:
        return None
    steps = _steps(section)
    procedural = kind_of(asked) is Kind.STEPS
    span = steps if steps is not None and procedural else _opening(section)
    if span is None:
        return None
    start, end = span
    answer = " ".join(section.text[start:end].split())
    if not LEAST_WORDS <= len(answer.split()) <= MOST_WORDS or answer.endswith(":"):
        return None
    fits = _TELLS.search(answer) if procedural else _defines(answer, section.title)
    related = span == steps or bool(_terms(section.title) & _terms(answer))
    return Pair(asked, answer, start, end) if fits and related else None


def _defines(answer: str, title: str) -> bool:
    """Whether the first sentence of an answer says what a title means, or the title asks for itself."""
    first = next(sentences(answer)).text
    if _ASKS.match(title):
        return True
    wanted = _terms(title)
    return bool(_DEFINES.search(first)) and bool(wanted) and wanted <= _terms(first)


def _terms(text: str) -> set[str]:
    return {term for word in words(text, "english") for term in word.terms}


def question(title: str, verbs: Verbs, random: np.random.Generator) -> str | None:
    """A title as one of several questions; None for one that asks nothing (`Examples`, `Bugs`)."""
    title = title.lower() if title.isupper() and " " in title else title
    count = len(title.split())
    if not 1 <= count <= 12 or not title[0].isalpha():
        return None
    if _ASKS.match(title):
        return title
    started, gerund = _STARTS.match(title), _GERUND.match(title)
    if started:
        return _form(_STEP_FORMS, _lowered(started["rest"]), random)
    if gerund:
        verb = verbs.of(gerund["verb"])
        return None if verb is None else _form(_STEP_FORMS, verb + gerund["rest"].rstrip("?.: "), random)
    if count > 1 and title.split()[0].lower() in verbs:
        return _form(_STEP_FORMS, _lowered(title), random)
    if count <= 4 and not title.endswith(":") and title.lower() not in _EMPTY:
        return _form(_MEANING_FORMS, title if title[1:] != title[1:].lower() else title[0].lower() + title[1:], random)
    return None


_SAYS_NOTHING = """
introduction|overview|examples|example|bugs|notes|note|description|options|summary|synopsis|author|authors|usage|history
license|copyright|general|other|miscellaneous|references|features|contents|index|preface|settings|see also|guides|update
further reading|basic concepts|related topics|more information|table of contents|caution|tips and tricks
"""
_EMPTY = frozenset(_SAYS_NOTHING.strip().replace("\n", "|").split("|"))


def _lowered(title: str) -> str:
    return title[0].lower() + title[1:].rstrip("?.: ")


def _form(forms: Sequence[str], asked: str, random: np.random.Generator) -> str:
    return forms[int(random.integers(len(forms)))].format(asked)


def _steps(section: Section) -> tuple[int, int] | None:
    """The section's numbered steps, from the first to the last, where they begin in its first three paragraphs."""
    lines = [(match.start(), match.end()) for match in re.finditer(r"[^\n]+", section.text)][1:]
    said = [bool(_STEP.match(section.text[start:end])) for start, end in lines]
    if sum(said) < 2:
        return None
    first = said.index(True)
    last = first
    while last + 1 < len(said) and said[last + 1]:
        last += 1
    return (lines[first][0], lines[last][1]) if first <= 3 and last > first else None


def _opening(section: Section) -> tuple[int, int] | None:
    """The first sentences of the section's first paragraph, until they are long enough."""
    start = len(section.title) + 2
    end = start
    for sentence in sentences(section.paragraphs[0]):
        end = start + sentence.end
        if len(section.text[start:end].split()) >= OPENING_WORDS:
            break
    return (start, end) if end > start and section.text[end - 1] in ".!" else None


def records(
    manual: str, found: Sequence[Section], verbs: Verbs, random: np.random.Generator, *, taken_out: float = 0.0
) -> Iterator[dict[str, Any]]:
    """A manual's documents with their questions; so large a share of them is asked of what was taken out."""
    titles = Counter(one.title.lower() for one in found)
    for number, part in enumerate(_parts(found), start=1):
        text = ""
        asked: list[dict[str, Any]] = []
        for section in part:
            made = pair(section, verbs, random) if titles[section.title.lower()] == 1 else None
            identity = f"{manual}-{number}-{len(asked)}"
            if made is not None and random.random() < taken_out:
                asked.append({"id": identity, "question": made.question, "answers": []})
                continue
            if made is not None:
                span = [len(text) + made.start, len(text) + made.end]
                asked.append({"id": identity, "question": made.question, "answers": [made.answer], "evidence": [span]})
            text += section.text + "\n\n"
        if asked and text.strip():
            yield {"doc_id": f"{manual}-{number}", "title": manual, "document": text.rstrip(), "qas": asked}


def _parts(found: Sequence[Section]) -> Iterator[list[Section]]:
    part: list[Section] = []
    words = 0
    for section in found:
        part.append(section)
        words += len(section.text.split())
        if words >= DOCUMENT_WORDS:
            yield part
            part, words = [], 0
    if part:
        yield part


def chosen(made: Sequence[dict[str, Any]], questions: int, random: np.random.Generator) -> list[dict[str, Any]]:
    """The documents with so many of their answerable questions, drawn evenly, and a fitting share of the others."""
    every = [(place, one["id"]) for place, record in enumerate(made) for one in record["qas"]]
    answerable = [key for key, record in ((key, made[key[0]]) for key in every) if _answers(record, key[1])]
    share = min(1.0, questions / max(1, len(answerable)))
    kept = {answerable[int(place)] for place in random.permutation(len(answerable))[:questions]}
    others = [key for key in every if key not in set(answerable)]
    kept |= {others[int(place)] for place in random.permutation(len(others))[: round(share * len(others))]}
    thinned = [
        {**record, "qas": [one for one in record["qas"] if (place, one["id"]) in kept]}
        for place, record in enumerate(made)
    ]
    return [record for record in thinned if record["qas"]]


def _answers(record: dict[str, Any], identity: str) -> bool:
    return any(one["id"] == identity and one["answers"] for one in record["qas"])


def main() -> None:
    """Write a data file of questions about manuals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manual", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--questions", type=int, help="so many of the questions, drawn evenly")
    parser.add_argument("--taken-out", type=float, default=0.0, help="share of sections taken out and asked for")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    named = [one.partition("=")[::2] for one in given.manual]
    manuals = {name: list(sections(_pages(folder))) for name, folder in named}
    verbs = Verbs(section.text for found in manuals.values() for section in found)
    random = np.random.default_rng(given.seed)
    made = [
        record
        for name, found in manuals.items()
        for record in records(name, found, verbs, random, taken_out=given.taken_out)
    ]
    if given.questions is not None:
        made = chosen(made, given.questions, random)
    with given.out.open("w", encoding="utf-8") as file:
        for record in made:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _pages(folder: str) -> Iterator[Path]:
    """The HTML pages of a folder, in natural order; those of an index of words are left out."""
    for source in expand([folder]):
        page = source.path
        if page is not None and page.suffix in (".html", ".htm") and not _INDEX_PAGE.match(page.name):
            yield page


if __name__ == "__main__":
    exit_with(main)
