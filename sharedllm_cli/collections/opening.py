"""`@NAME` as a library: what resolves the names of collections, and what opens the documents that fit a question.

`open_library` is the one function for every surface (command, chat, programs). The catalogue finds the documents that
fit a question best; only those are opened, and today's search runs inside them. Files that changed, moved or went since
the last update are noticed at each question: a few are read again at once, of many the answer says so.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from sharedllm_cli.collections.catalogue import FAILED, READ, Catalogue, DocumentRow, FileRow
from sharedllm_cli.collections.member import Member, empty
from sharedllm_cli.collections.names import find, split
from sharedllm_cli.collections.pool import Setup, read_all, worker_count
from sharedllm_cli.config import Settings
from sharedllm_cli.documents.readers import Limits, rest
from sharedllm_cli.documents.sources import SourceFile, expand
from sharedllm_cli.errors import DocumentError, SharedLLMError, UsageError
from sharedllm_cli.home import indexes_folder
from sharedllm_cli.model.adapter_config import tree_config
from sharedllm_cli.progress import RememberingReporter, Reporter
from sharedllm_cli.reading.library import Extent, KnownDocument, Library, OpenDocument, Shelf
from sharedllm_cli.reading.naming import NamedDocuments
from sharedllm_cli.weights.registry import locate
from sharedllm_cli.weights.weight_files import file_hash

if TYPE_CHECKING:
    from sharedllm_cli.documents.readers import Probe
    from sharedllm_cli.reading.searching import WordSearcher

MOST_OPENED = 50
"""So many documents are opened for a question."""
MOST_TOKENS = 4_000_000
"""Of long documents fewer are opened, once they have so many tokens together."""
LEAST_OPENED = 8
MOST_WITH_TREES = 4
"""Documents of a collection that a question opens where it reads their trees."""
MOST_NAMED = 10
"""A question that names more documents than this names none in particular."""


def setup_for(settings: Settings, home: Path, reporter: Reporter) -> Setup:
    """What reading documents needs to know of the model: its tokenizer and tree. Raises ModelError as `locate`."""
    located = locate(settings.model, home=home, offline=settings.offline, reporter=reporter)
    root = indexes_folder(home) if settings.index_dir is None else Path(settings.index_dir).expanduser()
    return Setup(
        store=str(root.absolute()),
        tokenizer=str(located.folder),
        tokenizer_hash=file_hash(located.folder / "tokenizer.json"),
        tree=tree_config(settings, located.name),
        password=settings.password,
        limits=Limits.of(settings),
    )


def open_library(
    arguments: Sequence[str], shelf: Shelf, setup: Setup, home: Path, reporter: Reporter, *, reindex: bool = False
) -> Library:
    """The library of some arguments, of which some name collections (`@notes`); the others are opened at once.

    Raises UsageError for a collection that does not exist, StoredIndexError for a damaged catalogue, and DocumentError
    where a collection is empty.
    """
    named, plain = split(arguments)
    if reindex and not plain:
        raise UsageError(
            f"--reindex takes documents, not collections: @{named[0]}",
            hint=f"`sharedllm collections update {named[0]}` reads what has changed; a file is read anew by its path",
        )
    members = [Member(find(home, name), shelf, setup) for name in named]
    library = shelf.open(plain, reindex=reindex) if plain else Library([])
    library.collection = OpenCollections(members, shelf, reporter)
    return library


def open_words(
    searcher: WordSearcher, arguments: Sequence[str], *, reindex: bool = False, probe: Probe | None = None
) -> Library:
    """As `WordSearcher.open`, of arguments of which some may name collections."""
    if not split(arguments)[0]:
        return searcher.open(arguments, reindex=reindex, probe=probe)
    setup = setup_for(searcher.settings, searcher.home, searcher.reporter)
    library = open_library(arguments, searcher.shelf(probe), setup, searcher.home, searcher.reporter, reindex=reindex)
    library.warnings = list(searcher.reporter.warnings)
    return library


def paths_of(arguments: Sequence[str], home: Path) -> list[str]:
    """The arguments with every `@NAME` replaced by the paths of its documents. Raises as `open_library`."""
    found: list[str] = []
    for argument in arguments:
        named, _ = split([argument])
        if not named:
            found.append(argument)
            continue
        collection = find(home, named[0])
        catalogue = Catalogue(collection.catalogue)
        # What could not be read is among them: whoever opens it says why.
        paths = [row.path for row in catalogue.files() if row.state in (READ, FAILED)]
        catalogue.close()
        if not paths:
            raise empty(collection)
        found += paths
    return found


def read_ahead(arguments: Sequence[str], setup: Setup, reporter: Reporter, workers: int | None) -> int:
    """Read the documents that arguments name into the store by several processes; how many took part (0: none did).

    What can't be read is left to whoever opens it next, and says so then. A few documents are not worth a process,
    unless `workers` asks for some.
    """
    sources = [source for source in expand(arguments, []) if source.path is not None and source.path.is_file()]
    count = worker_count(len(sources), workers) if sources else 0
    if count < 2:
        return 0
    with reporter.task("reading", len(sources), "documents") as task:
        for _ in read_all(sources, setup, count):
            task.advance(1)
    return count


class _Held:
    """Every document of some collections: what a question would count anew each time, computed once."""

    def __init__(self, pairs: Sequence[tuple[DocumentRow, FileRow]]) -> None:
        self.pairs = sorted(pairs, key=lambda pair: (pair[1].path, pair[0].id))
        self.by_content = {row.content_hash: (row, file) for row, file in self.pairs}
        self.contents = list(self.by_content)
        self.named = NamedDocuments([row.name for row, _ in self.pairs])
        self.extent = self.extent_of(self.contents)

    def extent_of(self, contents: Iterable[str]) -> Extent:
        """How much text some of them have."""
        rows = [self.by_content[one][0] for one in contents if one in self.by_content]
        tokens, chunks, pages = (sum(map(attrgetter(name), rows)) for name in ("tokens", "chunks", "pages"))
        return Extent(len(rows), tokens, chunks, pages)

    def beyond(self, opened: Iterable[str]) -> Extent:
        """How much the others have."""
        every, own = self.extent, self.extent_of(set(opened))
        counts = zip(astuple(every), astuple(own), strict=True)
        return Extent(*(whole - part for whole, part in counts))


class OpenCollections:
    """The collections of a question as one (`reading.library.Collected`)."""

    def __init__(self, members: Sequence[Member], shelf: Shelf, reporter: Reporter) -> None:
        self._members = list(members)
        self._shelf = shelf
        self._reporter = reporter
        self._known: tuple[tuple[int, ...], _Held] = (), _Held([])

    # -- as the counts of a larger set (`retrieval.bm25.WiderCounts`) --------------------------------------------------

    @property
    def leaf_count(self) -> int:
        """Leaves of all documents."""
        return sum(member.full_text.leaf_count for member in self._members)

    def frequency(self, forms: Mapping[str, str]) -> int:
        """In how many leaves a term occurs, given by its form in each language."""
        return sum(member.full_text.frequency(forms) for member in self._members)

    # -- as a collection ----------------------------------------------------------------------------------------------

    @property
    def label(self) -> str:
        """What the user calls them."""
        return " ".join(member.collection.label for member in self._members)

    @property
    def labels(self) -> list[str]:
        """The same, one by one."""
        return [member.collection.label for member in self._members]

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return len(self._rows())

    def _rows(self) -> list[tuple[DocumentRow, FileRow]]:
        """Every document, under its name of now, with the file that holds it, each content once, by path."""
        return self._held().pairs

    def _held(self) -> _Held:
        generations = tuple(member.generation for member in self._members)
        if self._known[0] != generations:
            self._known = generations, _Held(self._all_rows())
        return self._known[1]

    def _all_rows(self) -> list[tuple[DocumentRow, FileRow]]:
        found: dict[str, tuple[DocumentRow, FileRow]] = {}
        for member in self._members:
            for row in member.full_text.documents.values():
                file = member.holders.get(row.content_hash)
                if file is not None and row.content_hash not in found:
                    found[row.content_hash] = replace(row, name=member.name_of(row, file)), file
        return list(found.values())

    def narrow(self, library: Library, questions: Sequence[str], *, trees: bool = False) -> Library:
        """The library with the documents opened that fit some questions best, the latest question first."""
        started = time.perf_counter()
        said = len(self._reporter.warnings) if isinstance(self._reporter, RememberingReporter) else 0
        warnings = [told for member in self._members for told in member.refresh(self._reporter)]
        chosen = self._chosen(questions, MOST_WITH_TREES if trees else MOST_OPENED)
        narrowed = replace(
            library,
            documents=list(library.documents),
            failures=list(library.failures),
            warnings=[*library.warnings, *warnings],
            asked=tuple(questions),
            not_read=[*library.not_read, *(file for member in self._members for file in member.not_read)],
        )
        own = len(narrowed.documents)
        try:
            self._shelf.open_into(narrowed, [SourceFile(file.name, Path(file.path)) for _, file in chosen])
        finally:
            rest()
        if isinstance(self._reporter, RememberingReporter):  # of the documents that were opened now
            told = [*narrowed.warnings, *self._reporter.warnings[said:]]
            narrowed.warnings = list(dict.fromkeys(told))
        lost = narrowed.failures[len(library.failures) :]
        narrowed.failures = list(library.failures)
        carriers = {file.name for _, file in chosen if file.error is not None}
        narrowed.warnings += [f"{error.message}: nothing of it is used" for name, error in lost if name not in carriers]
        opened = [self._counted(one) for one in narrowed.documents[own:]]
        narrowed.documents = [*narrowed.documents[:own], *opened]
        if not narrowed.documents:
            raise lost[0][1] if lost else empty(self._members[0].collection)
        narrowed.beyond = self._held().beyond(one.content_hash for one in narrowed.documents)
        narrowed.read_seconds += time.perf_counter() - started
        return narrowed

    def _chosen(self, questions: Sequence[str], most: int) -> list[tuple[DocumentRow, FileRow]]:
        """The documents to open, by path: those that fit the questions best; the first where none has their words."""
        held = self._held()
        rows = held.by_content
        ranked = [self._ranked(question, most) for question in questions if question.strip()]
        turns = [ranking[place] for place in range(most) for ranking in ranked if place < len(ranking)]
        order = [content for content in dict.fromkeys(turns) if content in rows] or held.contents[:LEAST_OPENED]
        named = held.named.within(questions[0])
        # A question that names so many means none of them in particular.
        order = [*(held.contents[place] for place in named if len(named) <= MOST_NAMED), *order]
        chosen: dict[str, tuple[DocumentRow, FileRow]] = {}
        tokens = 0
        for content in order[:most]:
            tokens += rows[content][0].tokens
            if tokens > MOST_TOKENS and len(chosen) >= LEAST_OPENED:
                break
            chosen.setdefault(rows[content][1].path, rows[content])
        return [chosen[path] for path in sorted(chosen)]

    def _ranked(self, question: str, most: int) -> list[str]:
        """Contents of documents by how well they fit a question, those of all collections together."""
        languages = {language for member in self._members for language in member.full_text.languages}
        rankings = [member.full_text.ranked(question, most, languages, self) for member in self._members]
        scores = {
            row.content_hash: score
            for ranking in rankings
            for row, score in zip(ranking.documents, ranking.scores, strict=True)
        }
        return sorted(scores, key=lambda content: -scores[content])[:most]

    def _counted(self, opened: OpenDocument) -> OpenDocument:
        """A document whose terms are as rare as they are among all documents."""
        leaves = opened.leaves
        return replace(opened, leaves=replace(leaves, lexical=replace(leaves.lexical, wider=self)))

    @property
    def failures(self) -> list[tuple[str, SharedLLMError]]:
        """The files that could not be read, and why."""
        rows = [row for member in self._members for row in member.rows.values() if row.state == FAILED]
        return [(row.name, DocumentError(row.error or "can't be read", hint=row.hint)) for row in rows]

    def known(self) -> list[KnownDocument]:
        """Every document, by path."""
        headings = [member.catalogue.headings() for member in self._members]
        titles = {
            row.content_hash: tuple(own.get(row.id, ()))
            for member, own in zip(self._members, headings, strict=True)
            for row in member.full_text.documents.values()
        }
        return [
            KnownDocument(
                name=row.name,
                path=file.path,
                pages=row.pages,
                paged=row.paged,
                tokens=row.tokens,
                headings=titles[row.content_hash],
                kind=row.kind,
                content_hash=row.content_hash,
            )
            for row, file in self._rows()
        ]

    def of_names(self, names: set[str]) -> list[OpenDocument]:
        """The documents of these names, opened."""
        opened = self._opened(pair for pair in self._rows() if pair[0].name in names)
        return [one for one in opened if one.name in names]

    def holding(self, text: str) -> Iterator[OpenDocument]:
        """Every document that holds all words of a text in some form, opened one by one."""
        wanted = {row.content_hash for member in self._members for row in member.full_text.holding(text)}
        yield from self._opened(row for row in self._rows() if row[0].content_hash in wanted)

    def every(self) -> Iterator[OpenDocument]:
        """Every document, opened one by one."""
        yield from self._opened(iter(self._rows()))

    def _opened(self, rows: Iterator[tuple[DocumentRow, FileRow]]) -> Iterator[OpenDocument]:
        done: set[str] = set()
        for row, file in rows:
            if row.content_hash in done:
                continue
            library = Library([])
            self._shelf.open_into(library, [SourceFile(file.name, Path(file.path))])
            for opened in library.documents:
                if opened.content_hash not in done:
                    done.add(opened.content_hash)
                    yield opened

    def answered(self, names: set[str]) -> None:
        """Note that answers rested on some documents, for `--trees hot`. A catalogue that can't be written stays."""
        contents = [row.content_hash for row, file in self._rows() if file.name in names or row.name in names]
        for member in self._members:
            with suppress(SharedLLMError, sqlite3.Error):
                member.catalogue.mark_asked(contents, time.time())
