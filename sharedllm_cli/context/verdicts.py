"""Questions that ask for yes or no (`may the tenant sublet?`), told by how they begin. Knows words; no model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from sharedllm_cli.context.languages import ALTERNATIVES, STOP_WORDS, detect_language

_LEADING = re.compile(
    r"^[^?:,]*[:,]\s+(?=\S)|^(?:and|but|so|then|also|please|und|aber|et|mais|y|pero|e|ma)\b,?\s+", re.I
)
"""What may stand before the question itself: the part of a document that it names, or a joining word."""
_REPORTED = re.compile(
    r"(?:(?:can|could|would|will) you )?(?:please )?(?:tell me|say|check|find out|i wonder|do you know) "
    r"(?:if|whether)\b",
    re.IGNORECASE,
)
_REQUESTED = re.compile(
    r"(?:can|could|would|will|do) (?:you|we|i)\b.*"
    r"\b(?:tell|say|explain|describe|list|name|show|give|find|summari[sz]e|know)\b",
    re.IGNORECASE,
)
_ASKING = re.compile(
    r"\b(?:who|whom|whose|what|which|why|how|wer|wem|wen|warum|wie|welche\w*|qui|quoi|quel\w*|comment|combien|pourquoi|"
    r"quién\w*|qué|cuál\w*|cómo|cuánt\w*|chi|quale|quanto|quem|qual|quanto)\b",
    re.IGNORECASE,
)
_ENGLISH = """
is isn are aren am was wasn were weren do don does doesn did didn can cannot couldn could may might must mustn shall
should shouldn will won would wouldn has hasn have haven had hadn
"""
_GERMAN = """
ist sind war waren hat haben hatte hatten kann können könnte könnten darf dürfen dürfte muss müssen musste soll sollen
sollte will wollen wird werden wurde wurden würde gibt gab gilt gelten braucht brauche habe bin
"""
_SPANISH = "es son está están hay tiene tienen puede pueden puedo debe deben debo existe existen fue fueron era ha han"
_ITALIAN = "è sono era erano ha hanno può possono posso deve devono devo esiste esistono c"
_DUTCH = "is zijn was waren heeft hebben kan mag mogen moet moeten zal wordt worden werd"
_PORTUGUESE = "é são está estão há tem têm pode podem posso deve devem existe existem foi"
_VERBS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "english": frozenset(_ENGLISH.split()),
        "german": frozenset(_GERMAN.split()),
        "french": frozenset(),
        "spanish": frozenset(_SPANISH.split()),
        "italian": frozenset(_ITALIAN.split()),
        "dutch": frozenset(_DUTCH.split()),
        "portuguese": frozenset(_PORTUGUESE.split()),
    }
)
"""The verbs that a question of yes or no begins with, by language; French puts its verbs otherwise."""
_UNMISTAKEN = "darf dürfen kann puede pueden può possono mag mogen moet moeten pode podem"
_PLAIN = frozenset(_UNMISTAKEN.split())
"""Verbs that say by themselves which language they are of: a short question seldom does."""
_LEAVE = """
able allow allowed allowable fine forbidden legal mandatory necessary need needed obligatory ok okay optional
permissible permit permitted possible prohibited require required erforderlich erlaubt gestattet möglich nötig notwendig
verboten
verpflichtet autorisé interdit nécessaire obligatoire permis possible requis necesario obligatorio permitido posible
prohibido requerido necessario obbligatorio permesso possibile vietato mogelijk nodig toegestaan verboden verplicht
necessário obrigatório possível proibido
"""
LEAVE_WORDS = frozenset(_LEAVE.split())
"""Words that ask for leave or duty, which a text says in many ways: they tell little of where it does."""
_FIRST = re.compile(r"[^\W\d_]+")
_INVERTED = re.compile(r"\w+-(?:t-)?(?:il|elle|ils|elles|on|ce|je|nous|vous)\b|^est-ce qu", re.IGNORECASE)
"""How French asks: `doit-il`, `y a-t-il`, `est-ce que`."""


def asks_for_a_verdict(question: str) -> bool:
    """Whether a question can be answered by yes or no, in one of the languages whose words are known.

    Not one that offers a choice (`red or blue?`), nor a request in the form of such a question (`can you tell me when
    …?`), nor one that asks what, who or how besides.
    """
    asked = question.strip().lstrip("¿ ")
    if _REPORTED.match(asked):
        return True
    if _ASKING.search(question):
        return False
    while not _begins_as_one(asked):
        rest = _LEADING.sub("", asked, count=1)
        if rest == asked or not question.rstrip().endswith("?"):
            return False
        asked = rest
    return True


def _begins_as_one(asked: str) -> bool:
    first = _FIRST.match(asked)
    if first is None or _REQUESTED.match(asked):
        return False
    if re.match(r"\s*\d", asked[first.end() :]):  # `May 2020 revenue?`
        return False
    language = detect_language(asked, {name: STOP_WORDS[name] for name in _VERBS})
    if {word.lower() for word in _FIRST.findall(asked)} & ALTERNATIVES[language]:
        return False
    word = first.group().lower()
    return word in _PLAIN or word in _VERBS[language] or (language == "french" and bool(_INVERTED.search(asked)))
