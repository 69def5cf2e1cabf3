"""Questions whose answer is counted or listed from what the documents hold: which, how many, how often, list all.

Rules about wording alone, as those of `wording.py`; `tallies.py` counts. English; `tally_translations.py` has a table
of forms in four other languages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from sharedllm_cli.answering.tally_translations import in_english
from sharedllm_cli.answering.wording import Wording

LONGEST_QUESTION = 300
"""Characters of a question that can be one of these."""


class Counted(StrEnum):
    """What is counted or listed."""

    DOCUMENTS = "documents"
    """The documents, or those that mention a topic, or have a heading."""
    MENTIONS = "mentions"
    """Every place where a topic stands."""
    SENTENCES = "sentences"
    """The sentences that speak of a topic."""
    CHAPTERS = "chapters"
    HEADINGS = "headings"
    PAGES = "pages"
    SLIDES = "slides"
    SHEETS = "sheets"
    DATES = "dates"
    YEARS = "years"
    MOST_PAGES = "most pages"
    """The document with the most pages; `least` with the fewest."""
    LONGEST = "longest"
    """The document with the most words; `least` with the fewest."""


@dataclass(frozen=True)
class TallyAsked:
    """What a question asks to be counted or listed.

    `topic`: only what mentions this; `heading`: only documents with a heading of these words; `scope`: only in the
    documents of this name, as typed (None: in all). `number`: how many is asked for. `absent`: those that do not
    mention it. `end`: `first` or `last` of dates. `least`: the other end of a superlative.
    """

    what: Counted
    number: bool = False
    topic: str | None = None
    heading: str | None = None
    scope: str | None = None
    absent: bool = False
    end: str | None = None
    least: bool = False


_SURE = r"(?:documents?|files?|pdfs?|texts? files?)"
_KIND = (
    r"(?:documents?|files?|pdfs?|reports?|notes?|papers?|letters?|books?|manuals?|contracts?|articles?|texts?|minutes|"
    r"memos?|cards?|policies|guides?|invoices?|emails?)"
)
_MENTION = (
    r"(?:mentions?|names?|speaks? (?:of|about)|talks? (?:of|about)|discuss(?:es)?|refers? to|deals? with|covers?|"
    r"(?:contains?|has|have|holds?|includes?|uses?) (?:the )?(?:words?|phrases?|terms?|names?)|"
    r"(?:says?|has|have|contains?|holds?) (?:something|anything) (?:of|about|on)|(?:is|are) about)"
)
_MENTIONED = r"(?:mentioned|named|discussed|referred to|spoken of|talked about|found|written of|used)"
_STANDS = r"(?:occurs?|appears?|stands?|comes? up|be found)"
_TOPIC = r"(?P<topic>.+?)"
_SCOPE = r"(?P<scope>(?!total\b|all\Z).+?)"
_IN = rf"(?: (?:in|within|across|throughout|inside) {_SCOPE})?"
_OF = rf"(?: (?:in|of|from|within|across|throughout|inside) {_SCOPE})?"
_THESE = r"(?: all)?(?: the| these| those| them| my| our)?"
_LIST = (
    r"(?:(?:please )?(?:can you |could you )?(?:list|enumerate|name|show(?: me)?|give me|tell me|find)"
    r"(?: all| every| each| me)*(?: of)?(?: the)?|(?:what|which) are(?: all)?(?: of)?(?: the)?)"
)
_EVERY = r"(?: (?:all|every|each|any)(?: of)?)?(?: the| these| my| our)?"
_HOW_MANY = (
    r"(?:how many(?: of)?(?: the| these| my| our)?(?: different)?|(?:what is )?(?:the )?(?:total )?number of|"
    r"count(?: all)?(?: the)?)"
)
_OFTEN = r"(?P<many>how (?:often|frequently|many times))"
_WHICH = rf"(?:(?:tell me )?(?:in )?(?:which|what)(?: of)?(?: the| these| my| our)?|{_LIST})"
_CHAPTERS = r"(?P<parts>chapters?|sections?|parts?|headings?|headlines?|slides|sheets|titles of (?:the )?sections)"
_WORD = r"(?:the (?:words?|phrases?|terms?|names?) )?"
_TAIL = r"(?: altogether| together| in total| in all| overall| mentioned| there)*"

_MANY_OR_WHICH = rf"(?:(?P<many>{_HOW_MANY})|{_WHICH})"
_HAVING = r"(?:have|has|contain|hold|with)"
_IN_SET = r"(?: (?:in|are in) (?P<scope>(?:the|this|my|our) (?:collection|folder|library|set|whole)|@[\w.-]+))?"
_LONGEST = r"(?:longest|largest|biggest|(?P<least>shortest|smallest))"

_FORMS: tuple[tuple[str, Counted | None], ...] = (
    # documents that mention, or do not
    (
        rf"(?P<many>{_HOW_MANY})?(?:{_WHICH})? ?{_KIND}(?: that| which)? "
        rf"(?P<absent>(?:do|does|did) not |don't |doesn't )?{_MENTION} {_TOPIC}",
        Counted.DOCUMENTS,
    ),
    (
        rf"in {_MANY_OR_WHICH} ?{_KIND} (?:is|are|was|were|does|do|did|can) {_WORD}{_TOPIC} "
        rf"(?:(?P<absent>not )?{_MENTIONED}|{_STANDS})",
        Counted.DOCUMENTS,
    ),
    (rf"(?:do|does) any(?: of the)? {_KIND} {_MENTION} {_TOPIC}(?:,? and which(?: ones?)?)?", Counted.DOCUMENTS),
    (
        rf"{_MANY_OR_WHICH} ?{_KIND}(?: that| which)? {_HAVING} (?:a |an |any )?"
        r"(?:chapter|section|part|heading)s? (?:called |named |titled |entitled |headed |on |about |for )+"
        r"(?P<heading>.+?)",
        Counted.DOCUMENTS,
    ),
    (
        rf"{_MANY_OR_WHICH} ?{_KIND}(?: that| which)? {_HAVING} "
        r"(?:a date|dates|entries|anything) (?:in|of|from) (?P<topic>.+?)",
        Counted.DOCUMENTS,
    ),
    # how often
    (rf"{_OFTEN} (?:is|are|was|were|does|do|did) {_WORD}{_TOPIC} (?:{_MENTIONED}|{_STANDS}){_IN}", Counted.MENTIONS),
    (rf"{_OFTEN} (?:do|does|did) (?P<scope>.+?) {_MENTION} {_TOPIC}", Counted.MENTIONS),
    (
        rf"(?P<many>{_HOW_MANY}) (?:mentions?|occurrences?|appearances?) of {_WORD}{_TOPIC}(?: are there)?{_IN}",
        Counted.MENTIONS,
    ),
    (rf"{_LIST} (?:mentions?|occurrences?) of {_WORD}{_TOPIC}{_IN}", Counted.MENTIONS),
    (
        rf"(?:(?P<many>{_HOW_MANY})|{_LIST}) (?:sentences?|passages?|places?|lines?)(?: that| which)? "
        rf"(?:{_MENTION}|about|of|on) {_TOPIC}{_IN}",
        Counted.SENTENCES,
    ),
    # chapters and headings
    (rf"(?P<many>{_HOW_MANY}) {_CHAPTERS} (?:does|do|did|has|have) (?P<scope>.+?) (?:have|contain|hold)", None),
    (rf"(?P<many>{_HOW_MANY}) {_CHAPTERS}(?: are there| is there| are)?{_OF}", None),
    (rf"{_LIST} {_CHAPTERS}{_OF}", None),
    # the documents themselves
    (
        rf"(?P<many>{_HOW_MANY}) {_SURE}(?: are there| do(?:es)? (?:i|we|you|the \w+) have| exist)?{_IN_SET}",
        Counted.DOCUMENTS,
    ),
    (
        rf"(?:{_LIST}|which|what) {_SURE}(?: are there| do(?:es)? (?:i|we|you|the \w+) have| exist| are)?{_IN_SET}",
        Counted.DOCUMENTS,
    ),
    (rf"(?P<many>{_HOW_MANY}) pages (?:does|do|did|has|have) (?P<scope>.+?) (?:have|contain|hold)", Counted.PAGES),
    (rf"(?P<many>{_HOW_MANY}) pages are(?: there)?{_OF}", Counted.PAGES),
    (
        rf"(?:which|what)(?: one)?(?: of{_THESE})?(?: {_KIND})? (?:has|have|contains?) the "
        rf"(?:most|(?P<least>fewest|least)) pages",
        Counted.MOST_PAGES,
    ),
    (
        rf"(?:which|what)(?: one)?(?: of{_THESE})?(?: {_KIND})? is (?:the )?"
        rf"{_LONGEST}(?: {_KIND}| one)?(?: of{_THESE}(?: {_KIND})?)?",
        Counted.LONGEST,
    ),
    (rf"(?:what is |name |show me )?the {_LONGEST} {_SURE}", Counted.LONGEST),
    # dates
    (
        rf"(?:(?P<many>{_HOW_MANY})|{_LIST}|which|what)(?: all)?(?: the)?(?: different)? (?P<dates>dates?|years?)"
        rf"(?: (?:is|are|was|were|that)(?: are)? (?:{_MENTIONED}|given|there)| (?:do|does) .{{0,40}}? mention|"
        rf" {_STANDS})?{_OF}",
        None,
    ),
    (
        r"(?:(?:what|which) (?:is|was) )?the (?P<end>earliest|first|oldest|latest|last|newest|most recent) "
        rf"(?P<dates>date|year)(?: (?:that is )?{_MENTIONED}| that {_STANDS})?{_OF}",
        None,
    ),
    # what else is named
    (
        rf"(?P<many>how many) (?P<topic>(?:[\w'’-]+ ){{0,2}}[\w'’-]+) (?:is|are|was|were) "
        rf"(?:{_MENTIONED}|listed|recorded) in (?P<scope>.+?)",
        Counted.SENTENCES,
    ),
)
_PATTERNS = tuple((re.compile(rf"{form}{_TAIL}", re.IGNORECASE), what) for form, what in _FORMS)
_POLITE = re.compile(r"\A(?:(?:and|so|please|ok|okay|hi|hello)\b[,\s]*)+", re.IGNORECASE)
_ARTICLE = re.compile(r"\A(?:the|an?|any|some|all|every)\s+", re.IGNORECASE)
_EVERYWHERE = re.compile(
    rf"(?:(?:all|any|each|every|the|these|those|this|my|our|both)(?: of)? )*(?:{_KIND}|collections?|folder|library|set|"
    r"whole|everything|all|them|it|here|there)(?: (?:together|altogether|in total))*|@[\w.-]+(?: @[\w.-]+)*",
    re.IGNORECASE,
)
_DOCUMENTS_SINGULAR = re.compile(
    r"(?:the|this|my) (?:document|file|pdf|report|note|paper|letter|book|manual|contract|article|text|guide)", re.I
)
_PRONOUN = re.compile(r"(?:it|them|they|that|this|these|those|one)", re.IGNORECASE)


def tally_asked(question: str) -> TallyAsked | None:
    """What a question asks to be counted or listed in the documents; None for any other question."""
    asked = " ".join(question.split()).strip("¿¡ ").rstrip("?!. ")
    asked = _POLITE.sub("", asked)
    if len(asked) > LONGEST_QUESTION:
        return None
    asked = in_english(asked) or asked
    for pattern, what in _PATTERNS:
        if (match := pattern.fullmatch(asked)) and (found := _tally(match, what)):
            return found
    return None


_LISTING = re.compile(
    r"(?:please )?(?:list|enumerate|name (?:all|every)|show (?:me )?all|give me (?:all|every|a list of))\b", re.I
)


def list_asked(wording: Wording, question: str) -> TallyAsked | None:
    """What a question commands to list (`list all coxswains`), as the sentences about it; None for any other question.

    A question is none: what a text says to it may be no list of sentences.
    """
    if wording.several is None or wording.several.count or not _LISTING.match(" ".join(question.split())):
        return None
    return TallyAsked(Counted.SENTENCES, topic=wording.several.thing)


def _tally(match: re.Match[str], what: Counted | None) -> TallyAsked | None:
    groups = {name: value for name, value in match.groupdict().items() if value}
    topic = _bare(groups["topic"]) if "topic" in groups else None
    if topic is not None and (not topic or _PRONOUN.fullmatch(topic)):
        return None
    scope = groups.get("scope")
    end = {"earliest": "first", "first": "first", "oldest": "first"}.get(groups.get("end", "").lower(), "last")
    return TallyAsked(
        what=what or _kind(groups),
        number="many" in groups,
        topic=topic,
        heading=_bare(groups["heading"]) if "heading" in groups else None,
        scope=None if scope is None or names_all(scope) else scope.strip(),
        absent="absent" in groups,
        end=end if "end" in groups else None,
        least="least" in groups,
    )


def _kind(groups: dict[str, str]) -> Counted:
    if "dates" in groups:
        return Counted.YEARS if groups["dates"].lower().startswith("year") else Counted.DATES
    if (what := groups["parts"].lower()) in (Counted.SLIDES, Counted.SHEETS):
        return Counted(what)
    return Counted.CHAPTERS if groups["parts"].lower().startswith(("chapter", "section", "part")) else Counted.HEADINGS


def _bare(topic: str) -> str:
    """A topic without its article; one in quotation marks as it stands, marks and all."""
    topic = topic.strip(" ,;:")
    return topic if topic[:1] in "\"“„«'‘" else _ARTICLE.sub("", topic).strip()


def names_all(scope: str) -> bool:
    """Whether words name all of the documents rather than one of them."""
    return _EVERYWHERE.fullmatch(scope.strip()) is not None


# -- compare A and B on Y ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """What is compared, as typed, and on what (None where the question does not say)."""

    things: tuple[str, ...]
    subject: str | None


_SUBJECT = (
    r"(?: (?:on|in|regarding|concerning|with regard to|with respect to|by|as to|for|in terms of) (?P<subject>.+))?"
)
_COMPARE = tuple(
    re.compile(form + _SUBJECT, re.IGNORECASE)
    for form in (
        r"(?:please )?compare (?P<things>.+?)",
        r"what (?:is|are) the differences? (?:between|among) (?P<things>.+?)",
        r"how (?:do|does) (?P<things>.+?) (?:differ|compare)",
    )
)
_JOINED = re.compile(r",? (?:and|with|to|versus|vs\.?|from) |, ", re.IGNORECASE)


def comparison_asked(question: str) -> Comparison | None:
    """What a question wants compared; None where it compares nothing, or only one thing."""
    asked = _POLITE.sub("", " ".join(question.split()).rstrip("?!. "))
    if len(asked) > LONGEST_QUESTION:
        return None
    for pattern in _COMPARE:
        if match := pattern.fullmatch(asked):
            things = tuple(part.strip() for part in _JOINED.split(match["things"]) if part.strip())
            return Comparison(things, match["subject"]) if len(things) > 1 else None
    return None
