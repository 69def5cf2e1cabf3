"""Questions that ask for yes or no (`may the tenant sublet?`), told by how they begin. Knows words; no model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from sharedllm_cli.retrieval.languages import ALTERNATIVES, STOP_WORDS, detect_language

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
    r"(?:can|could|would|will) you\b|(?:can|could|may|might) (?:i|we) (?:please )?(?:know|ask|see|get|have)\b|"
    r"(?:können|könnten) sie\b|(?:kannst|könntest) du\b|(?:pouvez|pourriez)-vous\b|peux-tu\b|\w+ez-(?:nous|moi)\b|"
    r"puedes?\b.*\b(?:decir|dar)|può (?:dir|riassumere)|puoi\b|pode (?:me|resumir|dizer)|(?:kunt u|kun je|kan je)\b|"
    r"(?:do|have) (?:a|an|not)\b",
    re.IGNORECASE,
)
"""Requests in the form of a question, and commands."""
_ASKING = re.compile(
    r"(?:,|\band|\bund|\bet|\by)\s+(?:who|whom|whose|what|which|why|how|when|where|wer|was|wann|wo|warum|wie|welche\w*|"
    r"qui|quand|où|comment|combien|pourquoi|quién|qué|cuándo|dónde|cómo|cuánto)\b",
    re.IGNORECASE,
)
"""A second question that asks for more than yes or no."""
_ASKS_FIRST = re.compile(
    r"(?:when|where|wo\w*|wann|quand|où|cuándo|dónde|quando|dove|onde|wanneer|waar)\b(?:\s*,|\s+(?:does|do|did|is|are|was|"
    r"were|will|would|can|may|must|should|has|have|liegt|ist|sind|muss|kann|darf|wird)\b)|"
    r"(?:give|list|name|tell|show|find|nenne)\b",
    re.IGNORECASE,
)
"""What asks or commands before a comma; `when it rains, …` does neither."""
_FRENCH_ASKING = re.compile(
    r"(?:[\w'’]+ ){0,3}?(?:quand|où)\b|(?:que|lequel|laquelle|lesquel\w*|quoi|quel\w*|qui|comment|combien|pourquoi)\b|"
    r".*\bqu['’]est|d['’]où",
    re.IGNORECASE,
)
_CERTAIN = "is isn are aren was wasn were weren does doesn did didn ist sind es son è é est"
_SURE = frozenset(_CERTAIN.split())
_PRONOUNS = """
i we you he she it they the there this that these those my our your ich wir er sie das der die
"""
_SUBJECTS = frozenset(_PRONOUNS.split())
_NO_SUBJECTS = frozenset({"of", "and", "s", "und"})
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
    if _ASKING.search(asked):
        return False
    if _REPORTED.match(asked):
        return True
    is_question = question.rstrip().endswith("?")
    while not _begins_as_one(asked, is_question):
        rest = _LEADING.sub("", asked, count=1)
        if rest == asked or not is_question or _ASKS_FIRST.match(asked):
            return False
        asked = rest
    return True


def asks_what_is_reported(question: str) -> bool:
    """Whether a question asks what a document says (`does the contract say whether …?`), and of it by its kind."""
    return _REPORTED.match(question.strip().lstrip("¿ ")) is not None


def _begins_as_one(asked: str, is_question: bool) -> bool:
    said = [word.lower() for word in _FIRST.findall(asked)]
    first = _FIRST.match(asked)
    if first is None or len(said) < 2 or said[1] in _NO_SUBJECTS or _REQUESTED.match(asked):
        return False
    if re.match(r"\s*\d", asked[first.end() :]):  # `May 2020 revenue?`
        return False
    bare = len(said) == 2 or not is_question
    if bare and said[0] not in _SURE and said[1] not in _SUBJECTS:  # `will of the testator`, `War years?`
        return False
    language = detect_language(asked, {name: STOP_WORDS[name] for name in _VERBS})
    if set(said) & ALTERNATIVES[language]:
        return False
    if said[0] in _PLAIN or said[0] in _VERBS[language]:
        return True
    return language == "french" and bool(_INVERTED.search(asked)) and not _FRENCH_ASKING.match(asked)
