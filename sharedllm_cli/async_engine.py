"""The engine for asynchronous programs: its work runs in one thread of its own, the event loop stays free.

Knows the engine alone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import TypeVar, cast

from sharedllm_cli.answer import Answer, AnswerSentence, SearchResult
from sharedllm_cli.answering.question import Pages
from sharedllm_cli.config import MAX_SOURCES, Settings
from sharedllm_cli.engine import Documents, Engine, IndexOutcome, Library
from sharedllm_cli.errors import SharedLLMError
from sharedllm_cli.generation.prompt import Turn
from sharedllm_cli.progress import Reporter

Result = TypeVar("Result")
_END = object()


class AsyncEngine:
    """An `Engine` whose methods are awaited; its arguments are those of `Engine`, or one that exists already.

    Calls come in turn: while an answer is streamed, others wait. Leaving `async with` ends the thread.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        home: str | os.PathLike[str] | None = None,
        reporter: Reporter | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.engine = Engine(settings, home=home, reporter=reporter) if engine is None else engine
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sharedllm")
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> AsyncEngine:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=False)

    async def open(self, documents: Documents, *, reindex: bool = False) -> Library:
        """See `Engine.open`."""
        return await self._run(partial(self.engine.open, documents, reindex=reindex))

    async def index(
        self, documents: Documents | Library, *, reindex: bool = False
    ) -> tuple[list[IndexOutcome], list[tuple[str, SharedLLMError]]]:
        """See `Engine.index`."""
        return await self._run(partial(self.engine.index, documents, reindex=reindex))

    async def search(
        self, documents: Documents | Library, query: str, *, limit: int = MAX_SOURCES, pages: Pages = None
    ) -> SearchResult:
        """See `Engine.search`."""
        return await self._run(partial(self.engine.search, documents, query, limit=limit, pages=pages))

    async def answer(
        self,
        documents: Documents | Library,
        question: str,
        *,
        history: Sequence[Turn] = (),
        pages: Pages = None,
        section: str | None = None,
    ) -> Answer:
        """See `Engine.answer`; cancelling the task stops the answer at its next token."""
        found = None
        async for piece in self.ask(documents, question, history=history, pages=pages, section=section):
            found = piece
        assert isinstance(found, Answer)
        return found

    async def ask(
        self,
        documents: Documents | Library,
        question: str,
        *,
        history: Sequence[Turn] = (),
        pages: Pages = None,
        section: str | None = None,
    ) -> AsyncGenerator[str | AnswerSentence | Answer, None]:
        """See `Engine.ask`; closing the iterator, or cancelling the task, stops the answer at its next token."""
        async with self._turn:
            pieces = self.engine.ask(documents, question, history=history, pages=pages, section=section)
            try:
                while True:
                    piece = await self._in_thread(partial(next, pieces, _END))
                    if piece is _END:
                        return
                    yield cast("str | AnswerSentence | Answer", piece)
            finally:
                # Queued behind the token that is being made, should the task have been cancelled meanwhile.
                await asyncio.shield(self._in_thread(pieces.close))

    async def _run(self, work: Callable[[], Result]) -> Result:
        async with self._turn:
            return await self._in_thread(work)

    def _in_thread(self, work: Callable[[], Result]) -> asyncio.Future[Result]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work)
