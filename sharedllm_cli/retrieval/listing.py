"""Questions for several things or their number: `list all keepers`, `how many boats …?`, `which of them …?`

A passage holds some of what is asked for, and a small model names the first. So the reader is shown every place that
speaks of the thing. Plain functions over text; no model and no index.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sharedllm_cli.retrieval.languages import DEFAULT_LANGUAGE, STOP_WORDS, detect_language
from sharedllm_cli.retrieval.mentions import ASKING_WORDS
from sharedllm_cli.retrieval.terms import words

_END = (
    r"(?=\s+(?:of|in|at|on|for|that|who|whom|which|whose|has|have|had|is|are|was|were|did|do|does|can|could|may|might|"
    r"must|should|will|would|with|from|to|by|during|since|before|after|between|under|von|des|der|im|in|am|an|die|das|"
    r"hat|haben|gibt|sind|ist|war|waren|du|de|des|dans|sont|ont|y|del|en|hay|son)\b|[?.,;:]|\Z)"
)
_THE = r"(?:(?:all|every|each|both|the|of|these|those|their|its|his|her|my|our|your|names?|different|various) )*"
_THING = rf"(?P<thing>[^?.,;:]+?){_END}"
_COUNT = re.compile(
    rf"\b(?:how many |what (?:is|was) the (?:total )?number of |wie ?viele |combien (?:de |d['’])|cu[aá]nt[oa]s |"
    rf"quant[ie] |quant[oa]s |hoeveel ){_THE}{_THING}",
    re.IGNORECASE,
)
_PLURAL = r"(?:[\w'’-]+ ){0,3}?(?:\w+s|people|(?:wo)?men|children)\b"
_ALL = r"(?:a list of|all|every|each|the names? of|alle|tou(?:te)?s les|todos los|todas las)"
_COMMAND = (
    r"(?:please |can you |could you )?(?:list|enumerate|name|give(?: me)?|show(?: me)?|tell me|nenne|liste|zähle)"
)
_LISTS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"\A{_COMMAND} {_ALL}\b {_THE}{_THING}",
        rf"\A(?:list|enumerate) {_THE}{_THING}",
        rf"\A{_COMMAND} the (?P<thing>{_PLURAL})",
        rf"\bwhich of {_THE}(?P<thing>{_PLURAL})",
        rf"\A(?:what|who|which) (?:are|were) all (?:of )?{_THE}{_THING}",
        rf"\A(?:who|which) (?:are|were) {_THE}(?P<thing>{_PLURAL})",
        r"\A(?:which|what|welche) (?P<thing>(?:\w+ ){0,2}?\w+(?:s|en|men))(?= (?:are|were|have|do|did|sind|haben)\b)",
    )
)
_KIND_OF = re.compile(
    rf"(?:[\w'’-]+ ){{0,2}}?(?:kinds?|types?|sorts?|ways?|examples|parts|number) of {_THE}{_THING}", re.IGNORECASE
)
_NUMBER = re.compile(
    r"\d[\d.,]*|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty|thirty|forty|fifty|"
    r"sixty|seventy|eighty|ninety|hundred|thousand|dozen|no|none|both|eine?|zwei|drei|vier|fünf|sechs|sieben|acht|neun|"
    r"zehn|elf|zwölf|une?|deux|trois|quatre|cinq|sept|huit|neuf|dix)\b",
    re.IGNORECASE,
)
_BETWEEN = 3
"""Words that may stand between a number and what it counts (`210 full turns`)."""


@dataclass(frozen=True)
class Several:
    """What is asked for several of, as typed, and whether their number is asked for."""

    thing: str
    count: bool


def asks_for_several(question: str) -> Several | None:
    """The thing that a question asks for all of, or for the number of; None for any other question."""
    asked = " ".join(question.split())
    stops = STOP_WORDS[detect_language(asked)] | ASKING_WORDS
    for pattern, count in ((_COUNT, True), *((form, False) for form in _LISTS)):
        if (match := pattern.search(asked)) is None:
            continue
        thing = match["thing"].strip()
        plural = re.match(_PLURAL, thing, re.IGNORECASE)
        thing = plural.group() if plural else thing  # of `people live there` the people
        if (kind := _KIND_OF.match(asked[match.start("thing") :])) is not None:
            thing = kind["thing"].strip()  # of `kinds of vectors` the vectors
        if any(word.surface.lower() not in stops for word in words(thing, DEFAULT_LANGUAGE)):
            return Several(thing, count)
    return None


def states_number(answer: str, thing: str, passages: str, language: str) -> bool:
    """Whether some passage states the answer's number of the thing (`210 turns`), so that nothing had to be counted."""
    counted = {term for word in words(thing, language) for term in word.terms}
    numbers = {found.group().lower() for found in _NUMBER.finditer(answer)}
    if not counted or not numbers:
        return False
    said = list(words(passages, language))
    for place, word in enumerate(said):
        if word.surface.lower() in numbers:
            near = said[place + 1 : place + 2 + _BETWEEN]
            if any(counted & set(other.terms) for other in near):
                return True
    return False
