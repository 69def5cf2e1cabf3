"""Counts and lists over all documents, made by code: documents, mentions, sentences, chapters, pages, dates.

Nothing is guessed by a model. Documents of a collection are found by its full-text index and opened one by one, so that
a count costs no memory; every hit is a source, as far as `MOST_HITS` go, and the total is that of all of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sharedllm_cli.answer import Source
from sharedllm_cli.answering.dates import FoundDate, dates_in, years_in
from sharedllm_cli.answering.tally_wording import Counted, TallyAsked
from sharedllm_cli.reading.library import KnownDocument, Library, OpenDocument
from sharedllm_cli.reading.naming import documents_named
from sharedllm_cli.reading.sentences import Quoted, sentence_at
from sharedllm_cli.reading.sources import sources
from sharedllm_cli.retrieval.sections import headings
from sharedllm_cli.retrieval.terms import Word, words

MOST_HITS = 40
"""So many hits are shown as sources."""
MOST_NAMES = 200
"""So many names are listed in an answer; it says how many there are besides."""
_QUOTED = re.compile(r"[\"“„«'‘](?P<words>[^\"”“»’']+)[\"”“»’']")
_AROUND = 400
"""Characters beside a leaf in which a phrase that begins in it may go on."""
_NUMBERED = re.compile(
    r"(?:chapter|kapitel|chapitre|capítulo|capitolo|part|section)\s+[\divxlc]+\b|\d{1,2}[.)]?\s+\S", re.I
)


@dataclass
class Tally:
    """A count or a list: its text, the total, the sources, and the documents that these are in."""

    text: str
    count: int
    sources: list[Source] = field(default_factory=list)
    documents: list[OpenDocument] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    found: bool = True


class Tallies:
    """Counts what a question asks for in all documents of a library."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._collection = library.collection

    def answer(self, asked: TallyAsked) -> Tally | None:
        """The count or list; None where the question names a document that is not there, or nothing to look for."""
        known = self._known()
        scope = range(len(known)) if asked.scope is None else documents_named(asked.scope, [one.name for one in known])
        if not scope:
            return None
        chosen = _told_apart([known[place] for place in scope])
        match asked.what:
            case Counted.DOCUMENTS if asked.heading is not None:
                return _with_heading(asked.heading, chosen)
            case Counted.DOCUMENTS if asked.topic is None:
                return _listed_documents(
                    chosen, self._collection.label if self._collection and not self._beside() else None
                )
            case Counted.DOCUMENTS | Counted.MENTIONS | Counted.SENTENCES:
                return self._mentions(asked, chosen)
            case Counted.CHAPTERS | Counted.HEADINGS:
                return _chapters(asked, chosen)
            case Counted.SLIDES | Counted.SHEETS:
                return self._parts(asked, chosen)
            case Counted.PAGES | Counted.MOST_PAGES | Counted.LONGEST:
                return _extents(asked, chosen)
            case _:
                return self._dates(asked, chosen)

    def _known(self) -> list[KnownDocument]:
        """Every document once: one that is named beside its collection goes by the name given there."""
        known = [known_of(opened) for opened in self._beside()]
        named = {one.content_hash for one in known}
        held = self._collection.known() if self._collection else []
        return [*known, *(one for one in held if one.content_hash not in named)]

    def _beside(self) -> list[OpenDocument]:
        """The opened documents that are of no collection."""
        return [opened for opened in self._library.documents if opened.leaves.lexical.wider is None]

    def _opened(self, chosen: Sequence[KnownDocument], text: str | None) -> Iterator[OpenDocument]:
        """The chosen documents, opened one by one; with a text those that may hold its words."""
        # By content, whatever a document is called; by name, should its file have changed since it was read.
        wanted = {key for one in chosen for key in (one.content_hash, one.called or one.name)}
        if self._collection is None:
            found: Iterator[OpenDocument] = iter(self._beside())
        else:
            beside = self._beside()
            named = {opened.content_hash for opened in beside}
            if text is not None:
                every = self._collection.holding(text)
            elif len(chosen) == len(self._collection.known()):
                every = self._collection.every()
            else:
                every = iter(self._collection.of_names({one.called or one.name for one in chosen}))
            own = (opened for opened in every if opened.content_hash not in named)
            found = (opened for some in (beside, own) for opened in some)
        return (opened for opened in found if opened.content_hash in wanted or opened.name in wanted)

    def _parts(self, asked: TallyAsked, chosen: Sequence[KnownDocument]) -> Tally:
        """The slides of presentations, or the sheets of workbooks."""
        noun = asked.what.removesuffix("s")
        kinds = PART_KINDS[asked.what]
        fitting = [one for one in chosen if one.kind in kinds]
        names = {one.content_hash: one.name for one in fitting}
        found = {one.content_hash: one.parts or one.pages for one in self._opened(fitting, None)}
        total = sum(found.values())
        if not found:
            return Tally(f"{_plural(len(chosen), 'document')} without {noun}s.", 0, found=False)
        counts = _names([f"{names[content]} {count:,}" for content, count in found.items() if content in names])
        return Tally(f"{_plural(total, noun)} in {_plural(len(found), 'document')}: {counts}", total)

    # -- mentions ---------------------------------------------------------------------------------------------------

    def _mentions(self, asked: TallyAsked, chosen: Sequence[KnownDocument]) -> Tally | None:
        """The documents that mention a topic, the places where it stands, or the sentences about it."""
        topic = asked.topic or ""
        quoted = _QUOTED.fullmatch(topic)
        bare = quoted["words"] if quoted else topic
        if not quoted and not any(word.terms for word in words(bare, "english")):
            return None
        find = (lambda opened: _literal(bare, opened)) if quoted else (lambda opened: _phrases(bare, opened))
        tally = self._hits(asked, chosen, bare, find)
        if not tally.count and not quoted and len(bare.split()) > 1 and not asked.absent:
            together = self._hits(asked, chosen, bare, lambda opened: _together(bare, opened))
            if together.count:
                together.remarks.append(
                    f"{bare!r} stands nowhere in these words; counted are sentences with all of them"
                )
                return together
        return tally

    def _hits(
        self,
        asked: TallyAsked,
        chosen: Sequence[KnownDocument],
        topic: str,
        find: Callable[[OpenDocument], list[tuple[int, int]]],
    ) -> Tally:
        hits = _Hits({one.content_hash: one.name for one in chosen})
        for opened in self._opened(chosen, topic):
            spans = find(opened)
            if asked.what is not Counted.MENTIONS:
                spans = _one_a_sentence(opened, spans)
            if spans:
                hits.add(opened, len(spans), spans[:1] if asked.what is Counted.DOCUMENTS else spans)
        if asked.what is Counted.DOCUMENTS:
            return _documents_text(hits, topic, [one.name for one in chosen], absent=asked.absent)
        what = "mention" if asked.what is Counted.MENTIONS else "sentence"
        total = sum(hits.counts.values())
        if not total:
            return Tally(f"No {what} of {topic} was found in {_plural(len(chosen), 'document')}.", 0, found=False)
        names = _names([f"{name} {count}" for name, count in hits.counts.items()])
        where = "" if len(chosen) == 1 else f" in {_plural(len(hits.counts), 'document')}"
        spread = f": {names}" if len(chosen) > 1 else f" in {chosen[0].name}"
        text = f"{_plural(total, what)} of {topic}{where}{spread}"
        if not asked.number:
            text += "\n" + "\n".join(f"- {quoted.text} ({name})" for name, quoted in hits.quoted)
        return hits.tally(text, total)

    # -- dates ------------------------------------------------------------------------------------------------------

    def _dates(self, asked: TallyAsked, chosen: Sequence[KnownDocument]) -> Tally:
        """The dates or years of the documents, each once, in order of time."""
        find = years_in if asked.what is Counted.YEARS else dates_in
        what = "year" if asked.what is Counted.YEARS else "date"
        first: dict[tuple[int, int, int], tuple[FoundDate, str, list[Source], OpenDocument]] = {}
        count: Counter[tuple[int, int, int]] = Counter()
        for opened in self._opened(chosen, None):
            for found in find(opened.document.text):
                count[found.when] += 1
                if found.when not in first:
                    at = sentence_at(opened, found.start, found.end).place
                    first[found.when] = found, opened.name, sources([opened], [at], supports=True, limit=1), opened
        if not first:
            return Tally(f"No {what} was found in {_plural(len(chosen), 'document')}.", 0, found=False)
        order = sorted(first)
        if asked.end is not None:
            order = order[:1] if asked.end == "first" else order[-1:]
        shown = [first[when] for when in order]
        several = len(chosen) > 1
        names = _names([f"{found.text} ({name})" if several else found.text for found, name, _, _ in shown])
        end = {"first": "The earliest", "last": "The latest"}.get(asked.end or "")
        text = f"{end} {what}: {names}" if end else f"{_plural(len(order), what)}: {names}"
        held = [source for _, _, some, _ in shown[:MOST_HITS] for source in some]
        documents = list({id(opened): opened for _, _, _, opened in shown[:MOST_HITS]}.values())
        remarks = [] if len(shown) <= MOST_HITS else [f"the first {MOST_HITS} are shown as sources"]
        return Tally(text, len(order), held, documents, remarks)


class _Hits:
    """Hits by document, the first of them as sources."""

    def __init__(self, names: Mapping[str, str]) -> None:
        """`names`: what each content is called."""
        self._names = names
        self.counts: dict[str, int] = {}
        self.quoted: list[tuple[str, Quoted]] = []
        self._sources: list[Source] = []
        self._documents: list[OpenDocument] = []

    def add(self, opened: OpenDocument, count: int, spans: Sequence[tuple[int, int]]) -> None:
        """Add a document's hits: how many there are, and the characters of those that are shown."""
        name = self._names.get(opened.content_hash, opened.name)
        self.counts[name] = self.counts.get(name, 0) + count
        for start, end in spans[: max(0, MOST_HITS - len(self._sources))]:
            quoted = sentence_at(opened, start, end)
            found = sources([opened], [quoted.place], supports=True, limit=1)
            if found:
                self.quoted.append((name, quoted))
                self._sources += found
                if not any(opened is one for one in self._documents):
                    self._documents.append(opened)

    def tally(self, text: str, count: int) -> Tally:
        """The tally of these hits."""
        shown = len(self._sources)
        remarks = [f"the first {shown} of {count:,} are shown as sources"] if shown < count else []
        return Tally(text, count, self._sources, self._documents, remarks)


PART_KINDS = {Counted.SLIDES: ("pptx", "odp"), Counted.SHEETS: ("xlsx", "ods")}
"""The kinds of documents that have slides, and those that have sheets."""


def _told_apart(documents: Sequence[KnownDocument]) -> list[KnownDocument]:
    """The documents, those of one name by their folder besides: two collections may each have a `report.md`."""
    count = Counter(one.name for one in documents)
    return [
        replace(one, name=f"{one.name} ({one.path.replace(chr(92), '/').rpartition('/')[0]})", called=one.name)
        if count[one.name] > 1
        else one
        for one in documents
    ]


def known_of(opened: OpenDocument) -> KnownDocument:
    """What a collection would know of an opened document."""
    document = opened.document
    titles = tuple(
        (heading.title, heading.level, document.page_at(heading.start).counted, not document.outline)
        for heading in headings(opened.titled)
    )
    extent = opened.pages, opened.paged, opened.tokens
    known = KnownDocument(opened.name, opened.path or "", *extent, titles, content_hash=opened.content_hash)
    return replace(known, kind=document.kind)


# -- where a topic stands --------------------------------------------------------------------------------------------


def _literal(text: str, opened: OpenDocument) -> list[tuple[int, int]]:
    """Where a text stands word for word, but for case and white space."""
    spelled = r"\s+".join(re.escape(word) for word in text.split())
    pattern = re.compile(rf"(?<!\w){spelled}(?!\w)", re.IGNORECASE)
    return [match.span() for match in pattern.finditer(opened.document.text)]


def _content(text: str, language: str) -> list[Word]:
    return [word for word in words(text, language) if word.terms]


def _phrases(topic: str, opened: OpenDocument) -> list[tuple[int, int]]:
    """Where the words of a topic stand one after the other in some form; words without a meaning may be between."""
    leaves, text = opened.leaves, opened.document.text
    sought = [set(word.terms) for word in _content(topic, leaves.lexical.language)]
    if not sought:
        return []
    found: dict[int, tuple[int, int]] = {}
    for first, last in _stretches(opened, sought[0]):
        near = text[first : last + _AROUND]
        there = _content(near, leaves.lexical.language)
        for place in range(len(there) - len(sought) + 1):
            stretch = there[place : place + len(sought)]
            start = first + stretch[0].start
            if start < last and all(terms & set(word.terms) for terms, word in zip(sought, stretch, strict=True)):
                found[start] = start, first + stretch[-1].start + len(stretch[-1].surface)
    return [found[start] for start in sorted(found)]


def _stretches(opened: OpenDocument, terms: set[str]) -> list[tuple[int, int]]:
    """The characters of the leaves in which a word begins, those of neighbouring leaves as one stretch."""
    leaves = opened.leaves
    numbers = sorted({int(leaf) for term in terms for leaf in leaves.lexical.postings(term)[0]})
    stretches: list[tuple[int, int]] = []
    for leaf in numbers:
        first, end = leaves.leaf_span(leaf)
        start = _word_start(opened.document.text, int(leaves.tokens.starts[first]))
        stop = int(leaves.tokens.ends[first:end].max())
        if stretches and start <= stretches[-1][1]:
            stretches[-1] = stretches[-1][0], max(stop, stretches[-1][1])
        else:
            stretches.append((start, stop))
    return stretches


def _word_start(text: str, start: int) -> int:
    """Where the word begins in which a leaf begins: leaves end between tokens, not between words."""
    least = max(0, start - 60)
    while start > least and not text[start - 1].isspace():
        start -= 1
    return start


def _together(topic: str, opened: OpenDocument) -> list[tuple[int, int]]:
    """The sentences that hold all words of a topic, in any order."""
    language = opened.leaves.lexical.language
    sought = [set(word.terms) for word in _content(topic, language)]
    rarest = min(sought, key=lambda terms: len(_stretches(opened, terms)), default=set())
    found = []
    for first, last in _stretches(opened, rarest):
        for word in _content(opened.document.text[first:last], language):
            if rarest & set(word.terms):
                start = first + word.start
                sentence = sentence_at(opened, start, start + len(word.surface))
                held = {term for one in _content(sentence.text, language) for term in one.terms}
                if all(terms & held for terms in sought):
                    found.append((start, start + len(word.surface)))
    return found


def _one_a_sentence(opened: OpenDocument, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans, of those in one sentence the first."""
    kept: dict[int, tuple[int, int]] = {}
    for start, end in spans:
        kept.setdefault(sentence_at(opened, start, end).place.first_token, (start, end))
    return list(kept.values())


# -- what is known without opening -----------------------------------------------------------------------------------


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _names(names: Sequence[str]) -> str:
    rest = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {rest:,} more" if rest > 0 else "")


def _documents_text(hits: _Hits, topic: str, names: Sequence[str], *, absent: bool) -> Tally:
    """Which documents mention a topic, or do not."""
    total, count = len(names), len(hits.counts)
    if absent:
        without = [name for name in names if name not in hits.counts]
        text = f"{len(without):,} of {_plural(total, 'document')} do not mention {topic}: {_names(without)}"
        return Tally(text.rstrip(": "), len(without), found=True)
    if not count:
        return Tally(f"None of {_plural(total, 'document')} mentions {topic}.", 0, found=False)
    verb = "mentions" if count == 1 else "mention"
    return hits.tally(f"{count:,} of {_plural(total, 'document')} {verb} {topic}: {_names(list(hits.counts))}", count)


def _listed_documents(chosen: Sequence[KnownDocument], label: str | None) -> Tally:
    where = f" in {label}" if label else ""
    return Tally(f"{_plural(len(chosen), 'document')}{where}: {_names([one.name for one in chosen])}", len(chosen))


def _own_headings(document: KnownDocument) -> list[tuple[str, int, int, bool]]:
    """The headings of a document; where only their form says so, those with a number."""
    return [one for one in document.headings if not one[3] or _NUMBERED.match(one[0])]


def _chapter_titles(document: KnownDocument) -> list[tuple[str, int, int, bool]]:
    """The chapters: the headings of the highest level that has several, or the only ones below the title."""
    found = _own_headings(document)
    levels = Counter(one[1] for one in found)
    several = [level for level in sorted(levels) if levels[level] > 1]
    level = several[0] if several else max(levels, default=0)
    return [one for one in found if one[1] == level] if len(levels) > 1 or several else found


def _chapters(asked: TallyAsked, chosen: Sequence[KnownDocument]) -> Tally | None:
    """Chapters (the main divisions) or headings (all of them), by document."""
    chapters = asked.what is Counted.CHAPTERS
    titles = {one.name: (_chapter_titles if chapters else _own_headings)(one) for one in chosen}
    total = sum(map(len, titles.values()))
    noun = "chapter" if chapters else "heading"
    if not total:
        if len(chosen) > 1:
            return Tally(f"No {noun} was found in {_plural(len(chosen), 'document')}.", 0, found=False)
        return Tally(f"{chosen[0].name} has no {noun}s that can be told.", 0, found=False)
    remarks = []
    if without := [name for name, found in titles.items() if not found]:
        remarks.append(f"no {noun}s can be told in {_names(without)}")
    if len(chosen) == 1:
        listed = "; ".join(title for title, *_ in titles[chosen[0].name])
        return Tally(f"{chosen[0].name} has {_plural(total, noun)}: {listed}", total, remarks=remarks)
    if asked.number:
        counts = _names([f"{name} {len(found)}" for name, found in titles.items() if found])
        text = f"{_plural(total, noun)} in {_plural(len(chosen) - len(without), 'document')}: {counts}"
        return Tally(text, total, remarks=remarks)
    lines = [f"- {name}: {'; '.join(title for title, *_ in found)}" for name, found in titles.items() if found]
    rest = len(lines) - MOST_NAMES
    more = [f"- and those of {rest:,} more documents"] if rest > 0 else []
    return Tally("\n".join([f"{_plural(total, noun)}:", *lines[:MOST_NAMES], *more]), total, remarks=remarks)


def _with_heading(heading: str, chosen: Sequence[KnownDocument]) -> Tally:
    """The documents with a heading that holds some words."""
    sought = [set(word.terms) for word in _content(heading, "english")]
    found: dict[str, str] = {}
    for one in chosen:
        for title, *_ in _own_headings(one):
            held = {term for word in _content(title, "english") for term in word.terms}
            if sought and all(terms & held for terms in sought):
                found.setdefault(one.name, title)
    if not found:
        return Tally(f"None of {_plural(len(chosen), 'document')} has a heading with {heading}.", 0, found=False)
    verb = "has" if len(found) == 1 else "have"
    text = (
        f"{len(found):,} of {_plural(len(chosen), 'document')} {verb} a heading with {heading}: {_names(list(found))}"
    )
    return Tally(text, len(found))


def _extents(asked: TallyAsked, chosen: Sequence[KnownDocument]) -> Tally | None:
    """Pages of documents, or the document with the most of them; None where there is no other to compare with."""
    if asked.what is not Counted.PAGES and len(chosen) < 2:
        return None
    if asked.what is Counted.LONGEST:
        best = (min if asked.least else max)(chosen, key=lambda one: one.tokens)
        which = "shortest" if asked.least else "longest"
        return Tally(f"The {which} document is {best.name}, with {best.tokens:,} tokens.", best.tokens)
    paged = [one for one in chosen if one.pages]
    if not paged:
        return Tally(f"{_plural(len(chosen), 'document')} without pages.", 0, found=False)
    without = len(chosen) - len(paged)
    remarks = [f"{_plural(without, 'document')} without pages left out"] if without else []
    if asked.what is Counted.MOST_PAGES:
        best = (min if asked.least else max)(paged, key=lambda one: one.pages)
        which = "fewest" if asked.least else "most"
        return Tally(f"{best.name} has the {which} pages: {best.pages:,}", best.pages, remarks=remarks)
    total = sum(one.pages for one in paged)
    if len(chosen) == 1:
        return Tally(f"{chosen[0].name} has {_plural(total, 'page')}.", total)
    counts = _names([f"{one.name} {one.pages:,}" for one in paged])
    return Tally(f"{_plural(total, 'page')} in {_plural(len(paged), 'document')}: {counts}", total, remarks=remarks)
