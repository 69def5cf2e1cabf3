"""Questions whether a document speaks of something, and what it says of it: `does the guide mention bats?`

Such a question is about its topic alone. The words that ask (mention, say, anything, the kind of document) stand in no
sentence that answers, and a search for them finds the wrong one. Plain functions over text; no model and no index.
"""

from __future__ import annotations

import re

_KINDS = """
abstract act agreement appendix article articles author book booklet brochure bylaws chapter charter code constitution
contract deed conclusion course description document documentation documents essay file files guide guidebook
guideline guidelines handbook email instructions introduction law lease leaflet letter license licence manual
manuscript memo minutes note notes novel offer page pages pamphlet paper paragraph paragraphs part passage passages
pdf policy preface primer prologue procedure protocol readme regulation regulations report review rulebook rules
section specification standard statement statute statutes story summary syllabus text texts thesis transcript tutorial
treaty website will writer buch dokument handbuch vertrag bericht anleitung kapitel satzung livre contrat manuel
rapport texte règlement libro contrato informe texto manuale contratto testo regolamento relazione handboek boek tekst
verslag livro relatório
"""
KIND_WORDS = frozenset(_KINDS.split())
"""What a reader calls the document itself."""
_ASKING = """
anything anywhere cover covered covers describe described describes discuss discussed discusses explain explained
explains find get give happen happened happens have information know list listed mean means mention mentioned mentions
name named please refer referred refers regarding say saying says show shown something speak speaks state stated states
talk talks tell tells told write written
"""
ASKING_WORDS = frozenset(_ASKING.split())
"""Words that ask, which say nothing of the matter asked about."""

_KIND = rf"(?:[\w'’-]+ ){{0,3}}?(?:{'|'.join(sorted(KIND_WORDS, key=len, reverse=True))})s?(?: \d+)?"
_NUMBERED = (
    rf"(?:the )?(?:appendix|article|chapter|clause|page|paragraph|part|section) (?:\d[\d.]*|[ivxlc]+|[a-z])"
    rf"(?: (?:of|in) (?:it|the {_KIND}))?"
)
_DOCUMENT = rf"(?:it|they|this|that|(?:the|this|that|these|those|my|our|your|his|her|their) {_KIND}|{_NUMBERED})"
_ABOUT = r"(?:about|on|of|regarding|concerning|as to|with regard to|with respect to|in regard to)"
_SOMETHING = (
    r"(?:anything|something|any (?:mention|information|reference|rules?|word|details?|talk)|(?:a|some) (?:mention|"
    r"reference|section|chapter|paragraph|passage|page|rule|word|information))"
)
_HERE = rf"(?: (?:in|inside|within|from) (?:it|here|there|{_DOCUMENT})| here| there| anywhere| somewhere)?"
_TOPIC = r"(?P<topic>.+)"
_FORMS = (
    rf"(?:does|do|did) {_DOCUMENT}(?: anywhere| ever| also| even)? (?:(?:mention|discuss|cover|describe|address)"
    rf"(?: {_SOMETHING} {_ABOUT})?|(?:talk|"
    rf"speak|say {_SOMETHING}|tell(?: us| me)? {_SOMETHING}|contain {_SOMETHING}|have {_SOMETHING}(?: to say)?|"
    rf"include {_SOMETHING}|make {_SOMETHING}|give {_SOMETHING}) {_ABOUT}|deal with|touch on|refer to) {_TOPIC}",
    rf"(?:is|are|was) there {_SOMETHING}{_HERE} {_ABOUT} {_TOPIC}",
    rf"(?:is|are|was|were) (?P<topic>.+?) (?:ever )?(?:mentioned|discussed|covered|described|addressed|talked about|"
    rf"spoken of|referred to)\b(?: anywhere| at all)?{_HERE}",
    rf"what (?:does|do|did) {_DOCUMENT} (?:say|tell|state|mention|write|have to say)(?: us| me)? {_ABOUT} {_TOPIC}",
    rf"what (?:is|was|does it) (?:said|written|stated|mentioned|say){_HERE} {_ABOUT} {_TOPIC}",
    rf"(?:tell|show) me (?:more |{_SOMETHING} |everything |what {_DOCUMENT} says )?about {_TOPIC}",
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
_PATTERNS = tuple(re.compile(rf"(?:{form})", re.IGNORECASE) for form in _FORMS)
_ELLIPTIC = re.compile(r"(?:what|how) about |was ist mit |qu['’]en est-il", re.IGNORECASE)
_LEADING = re.compile(r"\A(?:and|but|so|also|please|ok|okay|hi|hello)\b[,\s]*", re.IGNORECASE)
_TRAILING = re.compile(
    rf"(?:\s+(?:at all|anywhere|somewhere|(?:in|inside|within) (?:it|here|there|{_DOCUMENT})|please))+\Z",
    re.IGNORECASE,
)
_ARTICLE = re.compile(
    r"\A(?:the|an?|any|some|der|die|das|den|dem|le|la|les|l['’]|el|los|las|il|lo|gli|de|het|o|os|as)\s*\b"
)
_ITSELF = r"(?:document|text|book|file|pdf|article|story|paper|page|chapter)"
_DOCUMENT_ITSELF = re.compile(
    rf"it|that|this|you|(?:this|that) {_KIND}|(?:the )?(?:whole |entire )?{_ITSELF}|{_NUMBERED}", re.IGNORECASE
)


def topic_asked_about(question: str, *, leaning: bool = False) -> str | None:
    """What a question asks a document to speak of, as typed and without an article; None for any other question.

    `leaning`: there is a question before it, so that `what about X?` asks that question of X.
    """
    asked = " ".join(question.split()).strip("¿¡ ").rstrip("?!. ")
    asked = _LEADING.sub("", asked)
    for pattern in _PATTERNS:
        if (match := pattern.fullmatch(asked)) is None or (leaning and _ELLIPTIC.match(asked)):
            continue
        topic = _TRAILING.sub("", match["topic"]).strip(" ,;:")
        quoted = topic.strip("\"“”„«»'‘’`")
        bare = quoted if quoted != topic else _ARTICLE.sub("", topic).strip()
        if not bare or _DOCUMENT_ITSELF.fullmatch(topic):
            return None
        return bare
    return None
