"""Questions about a document itself: who wrote it, its title, its date, its publisher. Its first page answers them.

That page seldom holds the question's words (`by Jane Roe` instead of `author`), while pages amid the text do (`the
author is grateful`). So its leaves are scored as the best of all. Knows words and numbers; no model and no file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from sharedllm_cli.retrieval.boundaries import TokenText

_KIND = (
    "document|book|paper|article|report|text|thesis|dissertation|manual|guide|handbook|tutorial|essay|novel|pdf|file|"
    "publication|specification|white ?paper"
)
_IT = (
    rf"(?:it|this|th(?:is|ese)(?: \w+)? (?:{_KIND}|story|tale|work|play|poem|standard|pages?|slides)|"
    rf"the (?:\w+ )?(?:{_KIND}))"
)
_FACT = (
    r"(?:(?:main|full|exact|complete|official) )?(?:authors?|(?:sub ?)?titles?|publishers?|editors?|edition|"
    r"translators?|isbn|doi|copyright (?:holder|owner|year|date)|(?:publication|release|publishing) (?:date|year)|"
    r"(?:date|year|place) of publication|date|version)"
)
_MADE = (
    "written|authored|published|edited|compiled|translated|created|prepared|printed|issued|released|dated|updated|"
    "revised"
)
_ASKED = (
    r"(?:(?:please )?(?:give|tell|name|state|list|find)(?: me| us)? |(?:who|what|which)(?: ?s| is| are| was| were) )?"
)
_ENGLISH = (
    rf"{_ASKED}(?:the |its )?{_FACT}(?:(?: and| or) (?:the |its )?{_FACT})*(?: of {_IT})?",
    rf"(?:who|which \w+) (?:wrote|authored|published|edited|compiled|translated|created|prepared|issued) {_IT}"
    r"(?: and (?:when|where))?",
    rf"(?:when|where|by whom|(?:in )?(?:what|which) year) (?:was|were|is|has) {_IT}"
    rf" (?:been )?(?:first |last )?(?:{_MADE})",
    rf"who (?:is|are|was) {_IT} (?:(?:{_MADE}) )?(?:by|from)",
    rf"(?:what|how) (?:is|are) {_IT} (?:called|titled|entitled|named)",
    rf"{_ASKED}the (?:name|writers?) of {_IT}",
)
_GERMAN_IT = r"(?:es|das|dies(?:es|er|e|en)?(?: \w+)?|(?:das|der|den) (?:dokument|buch|handbuch|text|artikel|bericht))"
_GERMAN_FACT = (
    r"(?:autor(?:in|en)?|verfasser(?:in)?|(?:unter)?titel|herausgeber(?:in)?|verlag|datum|erscheinungs(?:jahr|datum))"
)
_GERMAN = (
    rf"(?:(?:wer|was|wie|welches?) (?:ist|sind|war|lautet|heißt) )?(?:der|die|das) {_GERMAN_FACT}"
    r"(?: (?:dieses|dieser|des|der) \w+)?",
    rf"wer (?:hat|schrieb|verfasste) {_GERMAN_IT}(?: (?:geschrieben|verfasst|veröffentlicht|herausgegeben))?",
    rf"wann (?:wurde|ist) {_GERMAN_IT} (?:geschrieben|verfasst|veröffentlicht|erschienen)",
    rf"wie heißt {_GERMAN_IT}",
)
_FRENCH_IT = r"(?:(?:cet?|cette|le|la|l) (?:document|livre|texte|article|rapport|manuel|ouvrage|thèse))"
_FRENCH = (
    r"(?:(?:qui|quel|quelle|quels) (?:est|sont) )?(?:les?|la|l) (?:auteure?s?|titre|éditeur|date(?: de publication)?)"
    rf"(?: (?:de {_FRENCH_IT}|du (?:document|livre|texte|rapport|manuel)))?",
    rf"qui a (?:écrit|rédigé|publié|édité) {_FRENCH_IT}",
    rf"quand a été (?:écrite?|publiée?) {_FRENCH_IT}",
)
_SPANISH_IT = r"(?:est[ea]|el|la) (?:documento|libro|texto|artículo|informe|manual|obra|tesis)"
_SPANISH = (
    r"(?:(?:quién|cuál|quiénes) (?:es|son) )?(?:el|la|los) (?:autora?|autores|título|editorial|fecha)"
    r"(?: de publicación)?"
    rf"(?: (?:de {_SPANISH_IT}|del (?:documento|libro|texto|artículo|informe|manual)))?",
    rf"quién (?:escribió|publicó|editó) {_SPANISH_IT}",
    rf"cuándo se (?:escribió|publicó) {_SPANISH_IT}",
)
_QUESTIONS = re.compile("|".join([*_ENGLISH, *_GERMAN, *_FRENCH, *_SPANISH]))
_OPENING = re.compile(
    r"(?:(?:and|so|please|(?:can|could) you (?:please )?(?:tell|give) me|do you know|i want to know) )+"
)


def asks_for_front_matter(question: str) -> bool:
    """Whether a question is about the document itself, in English, German, French or Spanish.

    The whole question must be one: `who is the author of this book?`, not `who is the author of the letter?`.
    """
    words = " ".join(re.findall(r"\w+", question.casefold()))
    return bool(_QUESTIONS.fullmatch(words) or _QUESTIONS.fullmatch(_OPENING.sub("", words, count=1)))


def raise_front(
    scores: Sequence[np.ndarray], documents: Sequence[TokenText], page_ends: Sequence[int], budget_tokens: int
) -> list[np.ndarray]:
    """Scores [leaves] a document with the leaves of each first page raised just above the best score of all.

    `page_ends[d]` is the token at which document d's first page ends. Of a long one as many leaves are raised as take
    half of `budget_tokens` for all documents together, and at least its first, so that the other half is left for what
    the words of the question find.
    """
    best = max((float(values.max()) for values in scores if len(values)), default=0.0)
    above = np.nextafter(best, np.inf)  # before all that score as well: of equals the first documents' come first
    share = budget_tokens // (2 * max(1, len(documents)))
    raised = []
    for values, document, page_end in zip(scores, documents, page_ends, strict=True):
        front = (document.leaves[:, 0] < page_end) & (document.leaves[:, 1] <= share)
        front[:1] = True
        raised.append(np.where(front, above, values))
    return raised
