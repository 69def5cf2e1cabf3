"""Every rule about the wording of a question: what kind of answer it asks for. Plain functions over text.

A rule looks at the question alone; what becomes of it is decided in `routing.py`. Languages: English best, then German,
French and Spanish, and for some rules Italian, Dutch and Portuguese.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sharedllm_cli.retrieval.terms import (
    ALTERNATIVES,
    ASKING_WORDS,
    DEFAULT_LANGUAGE,
    GENERAL_IN_OTHER_SCRIPTS,
    KIND_WORDS,
    STOP_WORDS,
    WORD,
    detect_language,
    words,
)


@dataclass(frozen=True)
class Several:
    """What is asked for several of, as typed, and whether their number is asked for."""

    thing: str
    count: bool


@dataclass(frozen=True)
class Wording:
    """What a question's words say of the answer that it asks for; several may hold at once.

    `topic`: it asks whether the document mentions this, or what it says of it. `several`: it asks for all of a thing or
    for their number. `yes_no`: yes or no answers it. `front_matter`: author, title or date of the document itself.
    `whole`: the document as a whole (a summary, its subject).
    """

    topic: str | None
    several: Several | None
    yes_no: bool
    front_matter: bool
    whole: bool

    @staticmethod
    def of(question: str, *, follows: bool = False) -> Wording:
        """Read a question; `follows`: another question stands before it in the conversation."""
        return Wording(
            topic=topic_asked_about(question, leaning=follows),
            several=asks_for_several(question),
            yes_no=asks_yes_no(question),
            front_matter=asks_for_front_matter(question),
            whole=names_the_whole(question),
        )


NO_WORDING = Wording(None, None, yes_no=False, front_matter=False, whole=False)
"""The wording of a question to which no rule applies."""


# -- what does it say about …, does it mention … ---------------------------------------------------------------------

_ANY_KIND = rf"(?:[\w'’-]+ ){{0,3}}?(?:{'|'.join(sorted(KIND_WORDS, key=len, reverse=True))})s?(?: \d+)?"
_NUMBERED = (
    rf"(?:the )?(?:appendix|article|chapter|clause|page|paragraph|part|section) (?:\d[\d.]*|[ivxlc]+|[a-z])"
    rf"(?: (?:of|in) (?:it|the {_ANY_KIND}))?"
)
_ANY_DOCUMENT = (
    rf"(?:it|they|this|that|(?:the|this|that|these|those|my|our|your|his|her|their) {_ANY_KIND}|{_NUMBERED})"
)
_ABOUT = r"(?:about|on|of|regarding|concerning|as to|with regard to|with respect to|in regard to)"
_SOMETHING = (
    r"(?:anything|something|any (?:mention|information|reference|rules?|word|details?|talk)|(?:a|some) (?:mention|"
    r"reference|section|chapter|paragraph|passage|page|rule|word|information))"
)
_HERE = rf"(?: (?:in|inside|within|from) (?:it|here|there|{_ANY_DOCUMENT})| here| there| anywhere| somewhere)?"
_TOPIC = r"(?P<topic>.+)"
_TOPIC_FORMS = (
    rf"(?:does|do|did) {_ANY_DOCUMENT}(?: anywhere| ever| also| even)? (?:(?:mention|discuss|cover|describe|address)"
    rf"(?: {_SOMETHING} {_ABOUT})?|(?:talk|"
    rf"speak|say {_SOMETHING}|tell(?: us| me)? {_SOMETHING}|contain {_SOMETHING}|have {_SOMETHING}(?: to say)?|"
    rf"include {_SOMETHING}|make {_SOMETHING}|give {_SOMETHING}) {_ABOUT}|deal with|touch on|refer to) {_TOPIC}",
    rf"(?:is|are|was) there {_SOMETHING}{_HERE} {_ABOUT} {_TOPIC}",
    rf"(?:is|are|was|were) (?P<topic>.+?) (?:ever )?(?:mentioned|discussed|covered|described|addressed|talked about|"
    rf"spoken of|referred to)\b(?: anywhere| at all)?{_HERE}",
    rf"what (?:does|do|did) {_ANY_DOCUMENT} (?:say|tell|state|mention|write|have to say)(?: us| me)? {_ABOUT} {_TOPIC}",
    rf"what (?:is|was|does it) (?:said|written|stated|mentioned|say){_HERE} {_ABOUT} {_TOPIC}",
    rf"(?:tell|show) me (?:more |{_SOMETHING} |everything |what {_ANY_DOCUMENT} says )?about {_TOPIC}",
    rf"(?:and )?(?:what|how) about {_TOPIC}",
    rf"{_SOMETHING}{_HERE} (?:about|on|regarding|concerning) {_TOPIC}",
    # German
    r"was (?:sagt|steht|schreibt|meint)(?: denn)? (?:das|der|die|dieses|dieser|diese|im|in der|in dem|da|darin)"
    r"(?: \w+)? (?:über|zu|zum|zur|von) (?P<topic>.+?)(?: drin)?",
    r"steht (?:da |dort |hier |darin |im \w+ |in der \w+ )?(?:etwas|was|irgendetwas|irgendwo etwas) "
    r"(?:über|zu|zum|zur|von) (?P<topic>.+?)(?: (?:drin|darin|im \w+|in der \w+))?",
    r"gibt es (?:etwas|was|angaben|informationen|einen abschnitt|ein kapitel|regeln) (?:über|zu|zum|zur) (?P<topic>.+)",
    r"(?:erwähnt|nennt|behandelt) (?:es|(?:das|der|die|dieses|dieser|diese) \w+) (?P<topic>.+)",
    r"(?:wird|werden) (?P<topic>.+?) (?:irgendwo )?(?:erwähnt|genannt|behandelt|besprochen)",
    r"(?:und )?was ist mit (?P<topic>.+)",
    # French
    r"que (?:dit|disent|raconte) (?:le |la |les |ce |cette |l['’])\w+ (?:sur|de|du|des|au sujet d(?:e|u|es)|à propos d"
    r"(?:e|u|es)) (?P<topic>.+)",
    r"y a-t-il (?:quelque chose|des informations|une mention|un passage) (?:sur|de|à propos d(?:e|u|es)) (?P<topic>.+)",
    r"(?:est-ce que )?(?:le |la |les |ce |cette |l['’])\w+ (?:mentionne|évoque|parle)(?:-t-(?:il|elle))?"
    r"(?: d(?:e|u|es)| d['’])? ?(?P<topic>.+)",
    r"(?:et )?qu['’]en est-il d(?:e|u|es|e la|e l['’]) ?(?P<topic>.+)",
    # Spanish, Italian, Portuguese, Dutch
    r"qué (?:dice|dicen|pone) (?:el|la|este|esta) \w+ (?:sobre|de|del|acerca de) (?P<topic>.+)",
    r"(?:hay algo|se dice algo|dice algo) (?:sobre|de|acerca de) (?P<topic>.+)",
    r"(?:se )?menciona(?:n)?(?: (?:el|la|este|esta) (?:libro|contrato|texto|documento|manual|informe))? (?P<topic>.+)",
    r"(?:che )?cosa dice (?:il|la|questo|questa) \w+ (?:su|di|del|della|sul|sulla|riguardo a) (?P<topic>.+)",
    r"(?:c['’]è qualcosa|si dice qualcosa) (?:su|di|sul|sulla) (?P<topic>.+)",
    r"(?:o )?que (?:diz|dizem) (?:o|a|este|esta) \w+ (?:sobre|de|do|da|acerca de) (?P<topic>.+)",
    r"(?:há algo|diz algo) (?:sobre|de|acerca de) (?P<topic>.+)",
    r"wat (?:zegt|staat er in|schrijft) (?:het|de|dit|deze) \w+ over (?P<topic>.+)",
    r"(?:staat er|is er) iets (?:in )?(?:over|van) (?P<topic>.+)",
    r"(?:noemt|vermeldt) (?:het|de|dit|deze) \w+ (?P<topic>.+)",
)
_TOPICS = tuple(re.compile(rf"(?:{form})", re.IGNORECASE) for form in _TOPIC_FORMS)
_ELLIPTIC = re.compile(r"(?:what|how) about |was ist mit |qu['’]en est-il", re.IGNORECASE)
_POLITE = re.compile(r"\A(?:and|but|so|also|please|ok|okay|hi|hello)\b[,\s]*", re.IGNORECASE)
_TRAILING = re.compile(
    rf"(?:\s+(?:at all|anywhere|somewhere|(?:in|inside|within) (?:it|here|there|{_ANY_DOCUMENT})|please|"
    r"in (?:more |great |some )?detail|briefly|in short|in (?:a few|one|two|three) (?:words?|sentences?)))+\Z",
    re.IGNORECASE,
)
_ARTICLE = re.compile(
    r"\A(?:the|an?|any|some|der|die|das|den|dem|le|la|les|l['’]|el|los|las|il|lo|gli|de|het|o|os|as)\s*\b"
)
_ITSELF = r"(?:document|text|book|file|pdf|article|story|paper|page|chapter)"
_DOCUMENT_ITSELF = re.compile(
    rf"it|that|this|you|(?:this|that) {_ANY_KIND}|(?:the )?(?:whole |entire )?{_ITSELF}|{_NUMBERED}", re.IGNORECASE
)


def topic_asked_about(question: str, *, leaning: bool = False) -> str | None:
    """What a question asks a document to speak of, as typed and without an article; None for any other question.

    `leaning`: there is a question before it, so that `what about X?` asks that question of X.
    """
    asked = " ".join(question.split()).strip("¿¡ ").rstrip("?!. ")
    asked = _POLITE.sub("", asked)
    for pattern in _TOPICS:
        if (match := pattern.fullmatch(asked)) is None or (leaning and _ELLIPTIC.match(asked)):
            continue
        topic = _TRAILING.sub("", match["topic"]).strip(" ,;:")
        quoted = topic.strip("\"“”„«»'‘’`")
        bare = quoted if quoted != topic else _ARTICLE.sub("", topic).strip()
        if not bare or _DOCUMENT_ITSELF.fullmatch(topic):
            return None
        return bare
    return None


# -- all of them, how many -------------------------------------------------------------------------------------------

_THING_END = (
    r"(?=\s+(?:of|in|at|on|for|that|who|whom|which|whose|has|have|had|is|are|was|were|did|do|does|can|could|may|might|"
    r"must|should|will|would|with|from|to|by|during|since|before|after|between|under|von|des|der|im|in|am|an|die|das|"
    r"hat|haben|gibt|sind|ist|war|waren|du|de|des|dans|sont|ont|y|del|en|hay|son)\b|[?.,;:]|\Z)"
)
_THE = r"(?:(?:all|every|each|both|the|of|these|those|their|its|his|her|my|our|your|names?|different|various) )*"
_THING = rf"(?P<thing>[^?.,;:]+?){_THING_END}"
_COUNT_FORM = re.compile(
    rf"\b(?:how many |what (?:is|was) the (?:total )?number of |wie ?viele |combien (?:de |d['’])|cu[aá]nt[oa]s |"
    rf"quant[ie] |quant[oa]s |hoeveel ){_THE}{_THING}",
    re.IGNORECASE,
)
_PLURAL = r"(?:[\w'’-]+ ){0,3}?(?:\w+s|people|(?:wo)?men|children)\b"
_EVERY = r"(?:a list of|all|every|each|the names? of|alle|tou(?:te)?s les|todos los|todas las)"
_COMMAND = (
    r"(?:please |can you |could you )?(?:list|enumerate|name|give(?: me)?|show(?: me)?|tell me|nenne|liste|zähle)"
)
_LIST_FORMS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"\A{_COMMAND} {_EVERY}\b {_THE}{_THING}",
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


def asks_for_several(question: str) -> Several | None:
    """The thing that a question asks for all of, or for the number of; None for any other question."""
    asked = " ".join(question.split())
    stops = STOP_WORDS[detect_language(asked)] | ASKING_WORDS
    for pattern, count in ((_COUNT_FORM, True), *((form, False) for form in _LIST_FORMS)):
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


# -- yes or no -------------------------------------------------------------------------------------------------------

_LEADING = re.compile(
    r"^[^?:,]*[:,]\s+(?=\S)|^(?:and|but|so|then|also|please|und|aber|et|mais|y|pero|e|ma)\b,?\s+", re.I
)
"""What may stand before the question itself: the part of a document that it names, or a joining word."""
_NAMED_PART = re.compile(r"(?:in|from|of|according to)\s+[\"“„«][^\"“”„«»]+[\"”“»]\s*:\s+(?=\S)", re.IGNORECASE)
"""A part of the document, in quotation marks before a colon: what follows asks, with or without a question mark."""
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
_ENGLISH_VERBS = """
is isn are aren am was wasn were weren do don does doesn did didn can cannot couldn could may might must mustn shall
should shouldn will won would wouldn has hasn have haven had hadn
"""
_GERMAN_VERBS = """
ist sind war waren hat haben hatte hatten kann können könnte könnten darf dürfen dürfte muss müssen musste soll sollen
sollte will wollen wird werden wurde wurden würde gibt gab gilt gelten braucht brauche habe bin
"""
_SPANISH_VERBS = (
    "es son está están hay tiene tienen puede pueden puedo debe deben debo existe existen fue fueron era ha han"
)
_ITALIAN_VERBS = "è sono era erano ha hanno può possono posso deve devono devo esiste esistono c"
_DUTCH_VERBS = "is zijn was waren heeft hebben kan mag mogen moet moeten zal wordt worden werd"
_PORTUGUESE_VERBS = "é são está estão há tem têm pode podem posso deve devem existe existem foi"
_VERBS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "english": frozenset(_ENGLISH_VERBS.split()),
        "german": frozenset(_GERMAN_VERBS.split()),
        "french": frozenset(),
        "spanish": frozenset(_SPANISH_VERBS.split()),
        "italian": frozenset(_ITALIAN_VERBS.split()),
        "dutch": frozenset(_DUTCH_VERBS.split()),
        "portuguese": frozenset(_PORTUGUESE_VERBS.split()),
    }
)
"""The verbs that a question of yes or no begins with, by language; French puts its verbs otherwise."""
_UNMISTAKEN = "darf dürfen kann puede pueden può possono mag mogen moet moeten pode podem"
_UNMISTAKEN_VERBS = frozenset(_UNMISTAKEN.split())
"""Verbs that say by themselves which language they are of: a short question seldom does."""

_FIRST = re.compile(r"[^\W\d_]+")
_INVERTED = re.compile(r"\w+-(?:t-)?(?:il|elle|ils|elles|on|ce|je|nous|vous)\b|^est-ce qu", re.IGNORECASE)
"""How French asks: `doit-il`, `y a-t-il`, `est-ce que`."""


def asks_yes_no(question: str) -> bool:
    """Whether a question can be answered by yes or no, in one of the languages whose words are known.

    Not one that offers a choice (`red or blue?`), nor a request in the form of such a question (`can you tell me when
    …?`), nor one that asks what, who or how besides.
    """
    asked = question.strip().lstrip("¿ ")
    if _ASKING.search(asked):
        return False
    if _REPORTED.match(asked):
        return True
    named = _NAMED_PART.match(asked)
    is_question = named is not None or question.rstrip().endswith("?")
    asked = asked[named.end() :] if named else asked
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
    if said[0] in _UNMISTAKEN_VERBS or said[0] in _VERBS[language]:
        return True
    return language == "french" and bool(_INVERTED.search(asked)) and not _FRENCH_ASKING.match(asked)


# -- author, title, date ---------------------------------------------------------------------------------------------

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
_FRONT_ENGLISH = (
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
_FRONT_GERMAN = (
    rf"(?:(?:wer|was|wie|welches?) (?:ist|sind|war|lautet|heißt) )?(?:der|die|das) {_GERMAN_FACT}"
    r"(?: (?:dieses|dieser|des|der) \w+)?",
    rf"wer (?:hat|schrieb|verfasste) {_GERMAN_IT}(?: (?:geschrieben|verfasst|veröffentlicht|herausgegeben))?",
    rf"wann (?:wurde|ist) {_GERMAN_IT} (?:geschrieben|verfasst|veröffentlicht|erschienen)",
    rf"wie heißt {_GERMAN_IT}",
)
_FRENCH_IT = r"(?:(?:cet?|cette|le|la|l) (?:document|livre|texte|article|rapport|manuel|ouvrage|thèse))"
_FRONT_FRENCH = (
    r"(?:(?:qui|quel|quelle|quels) (?:est|sont) )?(?:les?|la|l) (?:auteure?s?|titre|éditeur|date(?: de publication)?)"
    rf"(?: (?:de {_FRENCH_IT}|du (?:document|livre|texte|rapport|manuel)))?",
    rf"qui a (?:écrit|rédigé|publié|édité) {_FRENCH_IT}",
    rf"quand a été (?:écrite?|publiée?) {_FRENCH_IT}",
)
_SPANISH_IT = r"(?:est[ea]|el|la) (?:documento|libro|texto|artículo|informe|manual|obra|tesis)"
_FRONT_SPANISH = (
    r"(?:(?:quién|cuál|quiénes) (?:es|son) )?(?:el|la|los) (?:autora?|autores|título|editorial|fecha)"
    r"(?: de publicación)?"
    rf"(?: (?:de {_SPANISH_IT}|del (?:documento|libro|texto|artículo|informe|manual)))?",
    rf"quién (?:escribió|publicó|editó) {_SPANISH_IT}",
    rf"cuándo se (?:escribió|publicó) {_SPANISH_IT}",
)
_QUESTIONS = re.compile("|".join([*_FRONT_ENGLISH, *_FRONT_GERMAN, *_FRONT_FRENCH, *_FRONT_SPANISH]))
_OPENING = re.compile(
    r"(?:(?:and|so|please|(?:can|could) you (?:please )?(?:tell|give) me|do you know|i want to know) )+"
)


def asks_for_front_matter(question: str) -> bool:
    """Whether a question is about the document itself, in English, German, French or Spanish.

    The whole question must be one: `who is the author of this book?`, not `who is the author of the letter?`.
    """
    words = " ".join(re.findall(r"\w+", question.casefold()))
    return bool(_QUESTIONS.fullmatch(words) or _QUESTIONS.fullmatch(_OPENING.sub("", words, count=1)))


# -- the whole document ----------------------------------------------------------------------------------------------

_WHOLE = """
contents content summarise summarize summary summaries overview gist outline overall takeaways theme themes topic topics
subject purpose tldr worum handelt inhalt thema hauptaussage zusammenfassen zusammenfassung fasse résumé résume résumer
résumez sujet thème contenu parle resumen resume resumir tema contenido trata riassunto riassumi riassumere argomento
contenuto parla samenvatting samenvatten onderwerp inhoud gaat resumo resuma assunto conteúdo fala
"""
_OF_THE_WHOLE = frozenset(_WHOLE.split())
_WHAT_ABOUT = re.compile(
    r"\bwhat(?!\s+about)\b.*\babout\b"
    r"|\b(?:describe|explain|about)\b.*\b(?:document|text|book|paper|article|report|file|pdf|story)\b"
    r"|\b(?:main|key) (?:points?|ideas?)\b",
    re.IGNORECASE,
)
_ASKS_FOR_A_PLACE = re.compile(
    r"\s*(?:where|who|whom|whose|when|which|how|is|are|was|were|does|do|did|wo|wer|wann|où|qui|quand|dónde|quién|cuándo|"
    r"dove|chi|quando|onde|quem|wanneer)\b",
    re.IGNORECASE,
)


def names_the_whole(question: str) -> bool:
    """Whether a question that asks about no place says that it asks about the whole: for its contents, or a summary.

    Others have only words that say nothing by themselves (`why?`, `where is it?`), or name a document in passing.
    """
    if GENERAL_IN_OTHER_SCRIPTS.search(question):
        return True
    asked = {word.lower() for word in WORD.findall(question)}
    said = asked & _OF_THE_WHOLE or _WHAT_ABOUT.search(question)
    return bool(said) and _ASKS_FOR_A_PLACE.match(question) is None
