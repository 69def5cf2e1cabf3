"""What `ask` returns: the answer, where it stands in the documents, and what was done to find it.

Floor 0: plain data in the shape of `ask --json` (docs/cli.md). Knows no model, no file and no terminal.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

SECOND_EXTRACTION, OWN_TEXT, IMAGE = "second extraction", "own text", "recognised from an image"
"""What a quote can be held against (`Source.checked`)."""


FILE_METADATA = "file's metadata"
"""The `Source.place` of what a file says of itself."""


def part_words(number: int, title: str | None) -> str:
    """A part of a document without pages, by number and title: `part 3, The works`."""
    return f"part {number}, {title}" if title else f"part {number}"


@dataclass(frozen=True)
class Source:
    """One passage of a document: page, heading, words and place in the tree.

    `verified` is True where the quote was found in the page's raw extraction. `chunk`, `level` and `node` address the
    passage's best leaf. `supports`: the answer rests on it. `read` is False for a passage that was only found: the
    model had not read it when it answered. `heading` is the nearest one above, None where none is known. `paged` is
    False for formats without pages, whose `page` means nothing to a reader. `pages` is how many pages the document has,
    0 where that is not known.

    `checked` says against what `verified` holds: another library's extraction of the page (`SECOND_EXTRACTION`), or the
    text that was read (`OWN_TEXT`). Words that were recognised in an image can be held against nothing (`IMAGE`,
    `verified` is False). Of a format with parts, as an epub, `part` and `part_title` name the one in which
    the passage stands, `page` is its number too, and `page_label` the page of the print edition where the book has it.
    `columns` is the heading of the table whose rows are quoted, where the quote begins below it.

    `place` says where the words stand if that is not a page's text: `FILE_METADATA`, which is on no page (`page` is 0),
    or the head or foot of some pages (`head of pages 1 to 5`).
    """

    document: str
    page: int
    page_label: str | None
    quote: str
    verified: bool
    score: float
    chunk: int
    level: int
    node: int
    read: bool = True
    paged: bool = True
    supports: bool = False
    heading: str | None = None
    checked: str = OWN_TEXT
    part: int | None = None
    part_title: str | None = None
    pages: int = 0
    place: str | None = None
    columns: str | None = None


def page_words(source: Source) -> str:
    """A page as printed and as counted: `page xii (12 of 40)`, or `page 12` where they agree.

    Of a document in parts the page of the print edition, where the book has it, and the part.
    """
    label = " ".join((source.page_label or "").split())
    if source.part is not None:
        part = part_words(source.part, source.part_title)
        return f"page {label} ({part})" if label else part
    if label in ("", str(source.page)):
        return f"page {source.page}"
    return f"page {label} ({source.page} of {source.pages})" if source.pages else f"page {label} ({source.page})"


def place_words(source: Source) -> str:
    """Where a source's words stand, without the document's name; empty where there is neither page nor part."""
    if source.place == FILE_METADATA:
        return "from the file's metadata"
    return " · ".join(filter(None, [page_words(source) if source.paged else "", source.place]))


def checked_words(source: Source) -> str:
    """Whether the quote stands there: word for word only where two libraries read it so, one of them to check."""
    if source.checked == IMAGE:
        return IMAGE
    if source.checked == SECOND_EXTRACTION:
        return "quoted word for word" if source.verified else "not found word for word"
    return "quoted from the text" if source.verified else "not found so in the text"


@dataclass(frozen=True)
class AnswerSentence:
    """One sentence of an answer, and what it rests on.

    `sources`: the numbers, from 1, of its sources among the answer's; none where no source has half of its words.
    `unsupported`: numbers and names (and most of its words, if most are) that the passages do not contain.
    """

    text: str
    sources: list[int]
    unsupported: list[str]

    @property
    def mark(self) -> str:
        """What is printed behind the sentence: `[1]`, `[1, 3]`, `[?]` for a name or number that no passage has."""
        parts = [str(number) for number in self.sources] + (["?"] if self.unsupported else [])
        return f"[{', '.join(parts)}]" if parts else ""


@dataclass(frozen=True)
class SearchResult:
    """Passages for a query, best first, and which of its words the documents contain in some form, and which not.

    `policy` scored them; `searched_s` are the seconds that it took.
    """

    query: str
    policy: str
    passages: list[Source]
    matched: list[str]
    missing: list[str]
    searched_s: float
    warnings: list[str]

    def to_json(self) -> dict[str, Any]:
        """The object that `search --json` prints."""
        data = asdict(self)
        for source in data["passages"]:
            for name in ("paged", "pages", "read", "supports"):
                del source[name]
        return data


@dataclass(frozen=True)
class NotRead:
    """A file that was passed over in a folder or a pattern: its name there, its path, and what it is, in a word."""

    name: str
    path: str
    kind: str


@dataclass(frozen=True)
class Coverage:
    """How much of the documents there is, and how much of it the model read: in the tree, or verbatim.

    `pages` counts those of documents that have pages; Markdown, HTML, EPUB and text without form feeds have none.
    """

    tokens: int
    tokens_read: int
    chunks: int
    pages: int
    pages_without_text: list[int]


@dataclass(frozen=True)
class TreeRead:
    """What of the tree was given to the upper model; zeros and no ratio where none was."""

    preserved_nodes: int
    kept_keys: int
    ratio: float | None
    policy: str


@dataclass(frozen=True)
class Stretch:
    """Tokens `[start, end)` of a document that the model read: word for word, or as a node of the tree's `level`."""

    document: str
    start: int
    end: int
    level: int | None = None


@dataclass(frozen=True)
class IndexUse:
    """Whether text and trees were found on disk; where the (first) index lies and how large all are.

    `tokens_known`: tokens of the prompt whose keys and values came from the index (`--grains fine`).
    """

    text_hit: bool
    trees_hit: bool
    path: str | None
    bytes: int
    tokens_known: int = 0


@dataclass(frozen=True)
class ModelUse:
    """The model that answered. `trained` is the adapter's provenance; `reads_tree`: some gate is open."""

    base: str
    adapter: str | None
    trained: bool
    reads_tree: bool
    quantize: str
    device: str


@dataclass
class Timing:
    """Seconds of each step; `first_token_s` from the question (after loading and indexing) to the first token."""

    load_s: float = 0.0
    read_s: float = 0.0
    index_s: float = 0.0
    search_s: float = 0.0
    first_token_s: float = 0.0
    total_s: float = 0.0
    new_tokens: int = 0
    tokens_per_s: float = 0.0


@dataclass(frozen=True)
class Answer:
    """A finished answer.

    `route` names the way it was answered (`answering/routing.py`), None in a conversation that was saved without it.
    `matches`: the number of sentences about the thing that the question asks for several of, else None; the sources are
    these sentences then. `sentences`: the answer's sentences with their sources, none where it was quoted or refused.
    `prompt_tokens`: what the model read before it answered, 0 where none was asked; servers count it. `stretches`:
    what it read of which document; the page shows it.
    """

    question: str
    answer: str
    sources: list[Source]
    coverage: Coverage
    tree: TreeRead
    answered: bool
    reason: str | None
    index: IndexUse
    model: ModelUse
    timing: Timing
    peak_bytes: int
    route: str | None = None
    matches: int | None = None
    sentences: list[AnswerSentence] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    not_read: list[NotRead] = field(default_factory=list)
    prompt_tokens: int = 0
    stretches: list[Stretch] = field(default_factory=list)

    @property
    def found_words(self) -> str:
        """The answer where there is one, so that its words can be looked for in its sources."""
        return self.answer if self.answered else ""

    @property
    def main_sources(self) -> list[bool]:
        """Of each source whether it is shown first: the answer rests on it.

        Without an answer these are the sentences about a thing that several are asked for of, or what was read.
        """
        if self.answered:
            return [source.supports for source in self.sources]
        return [source.read or place < (self.matches or 0) for place, source in enumerate(self.sources)]

    def to_json(self) -> dict[str, Any]:
        """The object that `ask --json` prints."""
        data = asdict(self)
        for source in data["sources"]:
            del source["paged"], source["pages"]
        del data["prompt_tokens"], data["stretches"]
        data["memory"] = {"peak_bytes": data.pop("peak_bytes")}
        data["warnings"] = data.pop("warnings")
        return data
