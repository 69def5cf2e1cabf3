"""Questions to count and list in German, French, Dutch and Spanish, as the English ones that `tally_wording.py` knows.

One table: a form of a language, and what it asks in English. The topic keeps its words, without an article: they are
looked for in the language of each document. Answers are in English.
"""

from __future__ import annotations

import re

_X, _S = r"(?P<x>.+?)", r"(?P<s>.+?)"
_DOCUMENTS = {
    "german": r"(?:dokumente?n?|dateien?|datei|texte?n?|berichte?n?|briefe?n?|notizen|papiere?n?|unterlagen)",
    "french": r"(?:documents?|fichiers?|textes?|rapports?|lettres?|notes?)",
    "dutch": r"(?:documenten|document|bestanden|bestand|teksten|rapporten|brieven|notities)",
    "spanish": r"(?:documentos?|archivos?|ficheros?|textos?|informes?|cartas?|notas?)",
}
"""What documents are called; a `D` in the table stands for it."""
_OFTEN, _OFTEN_IN = "how often is {x} mentioned", "how often is {x} mentioned in {s}"
_MENTION, _NOT = "documents mention {x}", "documents do not mention {x}"
_TABLE: dict[str, tuple[tuple[str, str], ...]] = {
    "german": (
        (rf"welche D (?:erwähnen|nennen) {_X} nicht", f"which {_NOT}"),
        (rf"wie viele D (?:erwähnen|nennen) {_X} nicht", f"how many {_NOT}"),
        (rf"welche D (?:erwähnen|nennen|sprechen von|handeln von) {_X}", f"which {_MENTION}"),
        (rf"wie viele D (?:erwähnen|nennen|sprechen von|handeln von) {_X}", f"how many {_MENTION}"),
        (rf"in welche[nm] D (?:wird|werden|kommt|kommen|steht) {_X}(?: (?:erwähnt|genannt|vor))?", f"which {_MENTION}"),
        (
            rf"in wie vielen D (?:wird|werden|kommt|kommen|steht) {_X}(?: (?:erwähnt|genannt|vor))?",
            f"how many {_MENTION}",
        ),
        (rf"wie oft (?:wird|werden|kommt|kommen|steht) {_X} in {_S}(?: (?:erwähnt|genannt|vor))?", _OFTEN_IN),
        (rf"wie oft (?:wird|werden|kommt|kommen|steht) {_X}(?: (?:erwähnt|genannt|vor))?", _OFTEN),
        (r"wie viele D(?: gibt es| sind es| sind da| habe ich)?", "how many documents are there"),
        (r"(?:liste|zähle|zeige|nenne)(?: mir)? alle D(?: auf)?", "list all documents"),
        (rf"wie viele seiten (?:hat|haben) {_S}", "how many pages does {s} have"),
        (rf"wie viele kapitel (?:hat|haben) {_S}", "how many chapters does {s} have"),
        (r"welches D ist das längste|welche D ist die längste", "which document is the longest"),
        (r"welche[sr]? D hat die meisten seiten", "which document has the most pages"),
    ),
    "french": (
        (rf"quels? D ne (?:mentionnent|mentionne|citent) pas {_X}", f"which {_NOT}"),
        (rf"combien de D ne (?:mentionnent|citent) pas {_X}", f"how many {_NOT}"),
        (rf"quels? D (?:mentionnent|mentionne|citent|parlent d[eu] |parlent d'){_X}", f"which {_MENTION}"),
        (rf"combien de D (?:mentionnent|citent|parlent d[eu] |parlent d'){_X}", f"how many {_MENTION}"),
        (rf"combien de fois (?:est|sont) (?:mentionnée?s?|citée?s?) {_X} dans {_S}", _OFTEN_IN),
        (rf"combien de fois (?:est|sont) (?:mentionnée?s?|citée?s?) {_X}", _OFTEN),
        (rf"combien de fois {_X} (?:est|sont)(?:[- ](?:ils?|elles?))? (?:mentionnée?s?|citée?s?)", _OFTEN),
        (
            r"combien de D(?: y a[- ]t[- ]il| existe[- ]t[- ]il)?|combien y a[- ]t[- ]il de D",
            "how many documents are there",
        ),
        (r"(?:liste|listez|énumère|énumérez|montre|montrez)(?:[- ]moi)? tous les D", "list all documents"),
        (rf"combien de pages (?:a|ont|compte|contient) {_S}", "how many pages does {s} have"),
        (rf"combien de chapitres (?:a|ont|compte|contient) {_S}", "how many chapters does {s} have"),
        (r"quel D est le plus long", "which document is the longest"),
        (r"quel D a le plus de pages", "which document has the most pages"),
    ),
    "dutch": (
        (rf"welke D (?:noemen|vermelden) {_X} niet", f"which {_NOT}"),
        (rf"hoeveel D (?:noemen|vermelden) {_X} niet", f"how many {_NOT}"),
        (rf"welke D (?:noemen|vermelden|gaan over) {_X}", f"which {_MENTION}"),
        (rf"hoeveel D (?:noemen|vermelden|gaan over) {_X}", f"how many {_MENTION}"),
        (rf"in welke D (?:wordt|worden|komt|komen|staat) {_X}(?: (?:genoemd|vermeld|voor))?", f"which {_MENTION}"),
        (rf"in hoeveel D (?:wordt|worden|komt|komen|staat) {_X}(?: (?:genoemd|vermeld|voor))?", f"how many {_MENTION}"),
        (
            rf"hoe vaak (?:wordt|worden|komt|komen) {_X} (?:(?:genoemd|vermeld|voor) )?in {_S}"
            r"(?: (?:genoemd|vermeld|voor))?",
            _OFTEN_IN,
        ),
        (rf"hoe vaak (?:wordt|worden|komt|komen) {_X}(?: (?:genoemd|vermeld|voor))?", _OFTEN),
        (r"hoeveel D(?: zijn er| heb ik)?", "how many documents are there"),
        (r"(?:noem|toon|geef)(?: me)? alle D", "list all documents"),
        (rf"hoeveel pagina['’]?s (?:heeft|hebben|telt) {_S}", "how many pages does {s} have"),
        (rf"hoeveel hoofdstukken (?:heeft|hebben|telt) {_S}", "how many chapters does {s} have"),
        (r"welk D is het langste?", "which document is the longest"),
        (r"welk D heeft de meeste pagina['’]?s", "which document has the most pages"),
    ),
    "spanish": (
        (rf"(?:qué|cuáles) D no (?:mencionan|nombran) {_X}", f"which {_NOT}"),
        (rf"cuánt[oa]s D no (?:mencionan|nombran) {_X}", f"how many {_NOT}"),
        (rf"(?:en )?(?:qué|cuáles) D (?:mencionan?|nombran?|hablan? de|se menciona) {_X}", f"which {_MENTION}"),
        (rf"(?:en )?cuánt[oa]s D (?:mencionan?|nombran?|hablan? de|se menciona) {_X}", f"how many {_MENTION}"),
        (rf"cuántas veces (?:se mencionan?|aparecen?|se nombran?) {_X} en {_S}", _OFTEN_IN),
        (rf"cuántas veces (?:se mencionan?|aparecen?|se nombran?) {_X}", _OFTEN),
        (r"cuánt[oa]s D(?: hay| existen| tengo)?", "how many documents are there"),
        (r"(?:lista|enumera|muestra|muéstrame|nombra) todos los D", "list all documents"),
        (rf"cuántas páginas (?:tiene|tienen) {_S}", "how many pages does {s} have"),
        (rf"cuántos capítulos (?:tiene|tienen) {_S}", "how many chapters does {s} have"),
        (r"(?:qué|cuál) D es el más largo", "which document is the longest"),
        (r"(?:qué|cuál) D tiene más páginas", "which document has the most pages"),
    ),
}
_ARTICLE = re.compile(
    r"(?:d(?:er|ie|as|en|em|es)|eine?[nmrs]?|l(?:e|a|es|os|as)|un[ea]?|un[oa]s|du|des|de la|el|de|het|een)\s+|l['’]",
    re.IGNORECASE,
)
_FORMS = tuple(
    (re.compile(documents.join(re.split(r"\bD\b", form)), re.IGNORECASE), english)
    for language, documents in _DOCUMENTS.items()
    for form, english in _TABLE[language]
)


def in_english(question: str) -> str | None:
    """A question to count or to list, without its marks, as the English one; None where the table has no such form."""
    for pattern, english in _FORMS:
        if match := pattern.fullmatch(question):
            return english.format(**{name: _bare(value) for name, value in match.groupdict().items() if value})
    return None


def _bare(words: str) -> str:
    """Words without their article."""
    words = words.strip()
    article = _ARTICLE.match(words)
    return words[article.end() :] if article and article.end() < len(words) else words
