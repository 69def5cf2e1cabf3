"""The tools at work: names become granted paths, the host does the work in turn, progress goes out meanwhile.

Knows the host and what is granted; of the protocol nothing. Closing the iterator of a call stops its work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from typing import Any

from sharedllm_cli.answer import Answer, AnswerSentence, SearchResult
from sharedllm_cli.errors import UsageError
from sharedllm_cli.progress import Reporter
from sharedllm_cli.serving.granted import Granted
from sharedllm_cli.serving.host import Host, ProgressReporter, Work
from sharedllm_cli.serving.mcp.arguments import checked
from sharedllm_cli.serving.mcp.places import Address
from sharedllm_cli.serving.mcp.shapes import SHAPES, Shape
from sharedllm_cli.serving.mcp.telling import Block, Told, answer_told, one_line, read_told, rows_told, search_told
from sharedllm_cli.serving.turns import Job, pieces_of

LEAST_SECONDS = 0.1
"""Between two reports of progress."""
LOADING = "loading the model and reading the documents"


@dataclass(frozen=True)
class Step:
    """Progress of a call: a number that never falls, and what is being done."""

    value: float
    message: str


class _Steps:
    """Progress of several tasks, one after the other, as one number: whole tasks and the part of the present one."""

    def __init__(self, deliver: Callable[[Any], None]) -> None:
        self._deliver = deliver
        self._task, self._base, self._value, self._last = "", 0, 0.0, 0.0

    def __call__(self, description: str, done: int, total: int, unit: str) -> None:
        now = time.monotonic()
        if description != self._task:
            self._task, self._base = description, int(self._value) + 1
        elif now - self._last < LEAST_SECONDS and (done < total or not total):
            return
        self._last = now
        part = done / total if total else 1 - 1 / (1 + done)
        self._value = max(self._value, self._base + min(part, 0.999))
        count = f": {done:,} of {total:,} {unit}" if total else ""
        self._deliver(Step(self._value, one_line(description) + count))


def plan_words(row: Any) -> str:
    """A row of a plan in words."""
    size = f"{one_line(row.name)}: {row.pages:,} pages, {row.tokens:,} tokens"
    index = f"index {row.index_bytes / 1e6:,.0f} MB in {row.index_seconds:,.0f} s"
    rest = f"memory {row.memory_bytes / 1e9:,.1f} GB; an answer in {row.question_seconds:,.1f} s"
    return f"{size}; {index}; {rest}{'; indexed already' if row.indexed else ''}"


def _collection_words(name: str, count: int) -> str:
    return f"{one_line(name)}, a collection ({count:,} document{'' if count == 1 else 's'})"


class Tools:
    """What a client may call. Without `write` nothing that only stores or deletes is there."""

    def __init__(self, host: Host, granted: Granted, *, write: bool = False) -> None:
        self.host, self.granted, self.write = host, granted, write
        self._run: Mapping[str, Callable[..., AsyncIterator[Step | Told]]] = {
            "ask": self._ask,
            "search": self._search,
            "read": self._read,
            "list_documents": self._list,
            "plan": self._plan,
            "index": self._index,
            "remove": self._remove,
        }

    def shapes(self) -> list[Shape]:
        """The tools that may be called."""
        return [shape for shape in SHAPES if self.write or not shape.writes]

    async def call(
        self, name: str, arguments: Mapping[str, Any] | None, *, caller: str = ""
    ) -> AsyncIterator[Step | Told]:
        """The steps of a tool's work, then its result; UsageError for what is refused, and what the host raises."""
        shape = next((shape for shape in SHAPES if shape.name == name), None)
        if shape is None:
            known = [shape.name for shape in self.shapes()]
            near = get_close_matches(name[:100], known, n=1)
            hint = f"did you mean: {near[0]}" if near else f"there are: {', '.join(known)}"
            raise UsageError(f"there is no tool {name!r:.100}", hint=hint)
        if shape.writes and not self.write:
            raise UsageError(f"{name} is not allowed here", hint="the user can start the server with --write")
        async with aclosing(self._run[name](checked(name, shape.arguments, arguments), caller)) as steps:  # type: ignore[type-var]
            async for step in steps:
                yield step

    # -- each tool ----------------------------------------------------------------------------------------------------

    async def _ask(self, given: Mapping[str, Any], caller: str) -> AsyncIterator[Step | Told]:
        settings = self.host.settings
        if given["max_new_tokens"] is not None:
            settings = replace(settings, max_new_tokens=given["max_new_tokens"])
        paths: dict[str, str] = {}

        def opened(library: Any) -> None:
            paths.update({one.name: one.path for one in library.documents if one.path and not one.attached})

        def work(documents: Sequence[str], reporter: Reporter) -> Work:
            return self.host.asking(
                documents,
                given["question"],
                pages=given["pages"],
                section=given["section"],
                settings=settings,
                reporter=reporter,
                opened=opened,
            )

        async for piece in self._working(work, given["documents"], caller, beginning=LOADING):
            yield answer_told(piece, paths) if isinstance(piece, Answer) else piece

    async def _search(self, given: Mapping[str, Any], caller: str) -> AsyncIterator[Step | Told]:
        def work(documents: Sequence[str], reporter: Reporter) -> Work:
            return self.host.searching(
                documents,
                given["query"],
                limit=given["limit"],
                min_score=given["min_score"],
                pages=given["pages"],
                reporter=reporter,
            )

        async for piece in self._working(work, given["documents"], caller):
            yield search_told(piece) if isinstance(piece, SearchResult) else piece

    async def _read(self, given: Mapping[str, Any], caller: str) -> AsyncIterator[Step | Told]:
        async for piece in self.reading(
            given["document"], caller, pages=given["pages"], section=given["section"], outline=given["outline"]
        ):
            if isinstance(piece, Step):
                yield piece
            else:
                told = read_told(piece, given["start"], given["max_characters"])
                yield replace(told, paths={piece["document"]: str(self.granted.find(given["document"]).path)})

    async def reading(self, document: str, caller: str, **what: Any) -> AsyncIterator[Any]:
        """Steps, then the object of `read` for a document; `what` as `Host.reading` takes it."""

        def work(documents: Sequence[str], reporter: Reporter) -> Work:
            return self.host.reading(documents[0], reporter=reporter, **what)

        def one() -> list[str]:
            return [str(self.granted.find(document).path)]

        async for piece in self._working(work, one, caller):
            yield piece

    async def _list(self, given: Mapping[str, Any], caller: str) -> AsyncIterator[Step | Told]:
        yield await asyncio.to_thread(self._listed, given["match"] or "", given["start"], given["limit"])

    def _listed(self, match: str, start: int, limit: int) -> Told:
        """The documents of a stretch of the list; what is known of one that is indexed."""
        entries = {path: one for one in self.host.documents() for path in (one.source, *one.elsewhere) if path}
        found = [one for one in self.granted.documents() if match.casefold() in one.name.casefold()]
        rows: list[dict[str, Any]] = []
        for one in found[start : start + limit]:
            entry = entries.get(str(one.path))
            rows.append(
                {
                    "name": one.name,
                    "uri": str(Address(one.name)),
                    "indexed": entry is not None,
                    "pages": entry and entry.pages,
                    "tokens": entry and entry.tokens,
                    "bytes": entry and entry.bytes,
                }
            )
        more = start + len(rows) if start + len(rows) < len(found) else None
        lines = [one_line(row["name"]) + (f", {row['pages']:,} pages" if row["pages"] else "") for row in rows]
        sets = {name: len(paths) for name, paths in self.granted.sets().items() if match.casefold() in name.casefold()}
        if not start:
            lines = [*(_collection_words(name, count) for name, count in sets.items()), *lines]
        lines = lines or ["No documents." if found or match else "No documents: the user can name some at the start."]
        if more is not None:
            lines.append(f"{len(found) - more:,} more: call list_documents again with start={more}.")
        data = {"documents": rows, "collections": [{"name": name, "documents": sets[name]} for name in sets]}
        return Told(data | {"total": len(found), "next_start": more}, [Block("\n".join(lines), False, 1.0)])

    async def _plan(self, given: Mapping[str, Any], caller: str) -> AsyncIterator[Step | Told]:
        def work(documents: Sequence[str], reporter: Reporter) -> Work:
            return self.host.planning(documents, reporter=reporter)

        async for piece in self._working(work, given["documents"], caller):
            if isinstance(piece, Step):
                yield piece
                continue
            rows, failures = piece
            words = [plan_words(row) for row in rows]
            yield rows_told("documents", [asdict(row) for row in rows], words, failures)

    async def _index(self, given: Mapping[str, Any], caller: str) -> AsyncIterator[Step | Told]:
        def work(documents: Sequence[str], reporter: Reporter) -> Work:
            return self.host.indexing(documents, reporter=reporter, reindex=given["reindex"])

        async for piece in self._working(work, given["documents"], caller, seconds=None, beginning=LOADING):
            if isinstance(piece, Step):
                yield piece
                continue
            rows, failures = piece
            words = [
                f"{one_line(row.name)}: {'indexed already' if row.skipped else f'indexed in {row.seconds:,.1f} s'}"
                for row in rows
            ]
            yield rows_told("indexed", [asdict(row) for row in rows], words, failures)

    async def _remove(self, given: Mapping[str, Any], caller: str) -> AsyncIterator[Step | Told]:
        def work(documents: Sequence[str], reporter: Reporter) -> Work:
            return self.host.removing(documents[0])

        def one() -> list[str]:
            return [str(self.granted.find(given["document"]).path)]

        async for piece in self._working(work, one, caller):
            if isinstance(piece, Step):
                yield piece
            else:
                words = f"The index of {one_line(piece.name)} is removed; the document stays."
                yield Told({"removed": piece.name, "bytes": piece.bytes}, [Block(words, False, 1.0)])

    # -- in turn ------------------------------------------------------------------------------------------------------

    async def _working(
        self,
        make: Callable[[Sequence[str], Reporter], Work],
        documents: Sequence[str] | Callable[[], list[str]] | None,
        caller: str,
        seconds: float | None = -1,
        beginning: str = "reading the documents",
    ) -> AsyncIterator[Any]:
        """Steps of progress and the result of some work over granted documents, which are looked up in its turn."""

        def work(job: Job) -> Iterator[Any]:
            steps = _Steps(job.deliver)
            paths = documents() if callable(documents) else self.granted.resolve(documents)
            steps("reading the documents" if self.host.loaded else beginning, 0, 0, "")
            written = 0
            with closing(make(paths, ProgressReporter(steps))(job)) as pieces:  # type: ignore[type-var]
                for piece in pieces:
                    if isinstance(piece, str):
                        written += 1
                        steps("writing the answer", written, 0, "pieces")
                    elif not isinstance(piece, AnswerSentence):  # which comes again with the answer
                        yield piece
                    job.check()

        limit = self.host.seconds if seconds == -1 else seconds
        async with aclosing(pieces_of(self.host.turns, work, caller=caller, seconds=limit)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                yield piece
