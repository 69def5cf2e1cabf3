"""The page of `sharedllm serve`: its files, and what its script asks for.

    GET  /                                     the page, and its files under /page/files/
    GET  /page/documents                       what may be asked about
    POST /page/documents?name=N                a document dropped in: its bytes are the body
    POST /page/ask                             a question; the answer comes as events, as it is written
    GET  /page/answers/ID/sources/N[/picture]  one source of an answer: its text, and its page as a picture

Everything goes to the same `Host` as from any other caller. Starlette is imported where it is used (extra `serve`).
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from typing import Any

from sharedllm_cli.answer import IMAGE, Answer, AnswerSentence, Source, checked_words, place_words
from sharedllm_cli.config import Settings
from sharedllm_cli.documents.pdf.page_pictures import Box
from sharedllm_cli.documents.sources import SUFFIXES
from sharedllm_cli.errors import DocumentError, SharedLLMError
from sharedllm_cli.generation.prompt import Turn
from sharedllm_cli.reading.library import Library, OpenDocument
from sharedllm_cli.reading.sights import Sight, Sights, Strip, strips
from sharedllm_cli.serving.granted import Granted
from sharedllm_cli.serving.host import Host, ProgressReporter
from sharedllm_cli.serving.http_errors import RefusedError, error_object
from sharedllm_cli.serving.report import pieces_of
from sharedllm_cli.serving.turns import Job
from sharedllm_cli.serving.turns import pieces_of as pieces_in_turn
from sharedllm_cli.serving.uploads import MOST_BYTES, Uploads

UPLOAD_PATH = "/page/documents"
MORE_BYTES: Mapping[str, int] = {UPLOAD_PATH: MOST_BYTES + 1}
"""For `make_app`: the paths whose bodies may be longer."""
KEPT_ANSWERS = 24
"""Answers whose sources can be looked at; older ones are forgotten."""
LONGEST_QUESTION = 20_000
MOST_TURNS = 200
AT_ONCE = 2
"""Pictures that are drawn at the same time."""
POLICY = (
    "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
_FILES = {
    "style.css": "text/css; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "answer.js": "text/javascript; charset=utf-8",
    "viewer.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""The page's own files; no other is ever read."""


@dataclass
class _Kept:
    """An answer whose sources can be looked at, and what was already seen of them."""

    sources: list[Source]
    answer: str
    documents: list[OpenDocument]
    password: str | None
    sights: dict[int, Sight] = field(default_factory=dict)


@dataclass(frozen=True)
class _Progress:
    description: str
    done: int
    total: int
    unit: str


class _Live(ProgressReporter):
    """Sends progress and warnings along with the answer's pieces."""

    def __init__(self) -> None:
        super().__init__(lambda *values: self.deliver(_Progress(*values)))
        self.deliver: Callable[[Any], None] = lambda piece: None


class Page:
    """The routes of the page, and the answers that its readers look at."""

    def __init__(self, host: Host, granted: Granted, uploads: Uploads | None = None) -> None:
        self._host, self._granted = host, granted
        self._uploads = uploads
        self._answers: OrderedDict[str, _Kept] = OrderedDict()
        self._drawing = asyncio.Semaphore(AT_ONCE)

    def routes(self) -> list[Any]:
        """For `make_app(more_routes=…)`, with `MORE_BYTES` for its `more_bytes`."""
        from starlette.routing import Route

        return [
            Route("/", self._index, methods=["GET"]),
            Route("/page/files/{name}", self._file, methods=["GET"]),
            Route(UPLOAD_PATH, self._documents, methods=["GET"]),
            Route(UPLOAD_PATH, self._upload, methods=["POST"]),
            Route("/page/ask", self._ask, methods=["POST"]),
            Route("/page/answers/{key}/sources/{number:int}", self._source, methods=["GET"]),
            Route("/page/answers/{key}/sources/{number:int}/picture", self._picture, methods=["GET"]),
        ]

    # -- files ------------------------------------------------------------------------------------------------------

    async def _index(self, request: Any) -> Any:
        return _response(_page_file("index.html"), "text/html; charset=utf-8")

    async def _file(self, request: Any) -> Any:
        name = request.path_params["name"]
        if name not in _FILES:
            raise _not_found("there is no such file")
        return _response(_page_file(name), _FILES[name])

    # -- documents --------------------------------------------------------------------------------------------------

    async def _documents(self, request: Any) -> Any:
        from starlette.concurrency import run_in_threadpool

        documents = await run_in_threadpool(self._granted.documents)
        sets = await run_in_threadpool(self._granted.sets)
        within = {path: name for name, paths in reversed(sets.items()) for path in paths}
        host = self._host
        return _json(
            {
                "documents": [
                    {
                        "name": one.name,
                        "kind": SUFFIXES.get(one.path.suffix.lower(), "text"),
                        "dropped": self._uploads is not None and one.path in self._uploads,
                        "collection": within.get(str(one.path)),
                    }
                    for one in documents
                ],
                "collections": [*sets],
                "takes_documents": self._uploads is not None,
                "suffixes": sorted(SUFFIXES),
                "model": host.settings.model,
                "loaded": host.loaded,
            }
        )

    async def _upload(self, request: Any) -> Any:
        if self._uploads is None:
            raise RefusedError("this server takes no documents")
        names = request.query_params.getlist("name")
        if len(names) != 1 or set(request.query_params) != {"name"}:
            raise RefusedError("a document needs one name", parameter="name")
        name = await self._uploads.keep(names[0], request.stream(), self._granted)
        return _json({"name": name}, status=201)

    # -- a question -------------------------------------------------------------------------------------------------

    async def _ask(self, request: Any) -> Any:
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import StreamingResponse

        asked = _Question.of(await request.body(), self._host.settings)
        paths = await run_in_threadpool(self._granted.resolve, asked.documents)
        events = self._events(asked, paths, "page" if request.client is None else f"page {request.client.host}")
        return StreamingResponse(events, media_type="text/event-stream", headers={"content-security-policy": POLICY})

    async def _events(self, asked: _Question, paths: list[str], caller: str) -> AsyncIterator[bytes]:
        """The answer as it is written, as server-sent events; an error is the last of them."""
        libraries: list[Library] = []
        live = _Live()
        inner = self._host.asking(
            paths,
            asked.question,
            history=asked.history,
            settings=asked.settings,
            reporter=live,
            opened=libraries.append,
        )

        def work(job: Job) -> Iterator[Any]:
            live.deliver = job.deliver
            return inner(job)

        pieces = pieces_in_turn(self._host.turns, work, caller=caller, seconds=self._host.seconds)
        try:
            yield _event("waiting", {"waiting": max(len(self._host.turns) - 1, 0), "loaded": self._host.loaded})
            async for piece in pieces:
                if isinstance(piece, str):
                    yield _event("text", {"text": piece})
                elif isinstance(piece, AnswerSentence):
                    yield _event("sentence", {"sources": piece.sources, "unsupported": piece.unsupported})
                elif isinstance(piece, _Progress):
                    yield _event("progress", asdict(piece))
                elif isinstance(piece, Answer):
                    yield _event("answer", self._told(piece, libraries[-1], asked))
        except Exception as error:  # the response has begun: its status can't say so any more
            yield _event("error", _told_error(error))
        finally:
            await pieces.aclose()  # type: ignore[attr-defined]

    def _told(self, answer: Answer, library: Library, asked: _Question) -> dict[str, Any]:
        key = secrets.token_urlsafe(18)
        shown = {one.document for one in answer.sources} | {one.document for one in answer.stretches}
        documents = library.opened_for(shown)
        self._answers[key] = _Kept(
            answer.sources, answer.answer if answer.answered else "", documents, asked.settings.password
        )
        while len(self._answers) > KEPT_ANSWERS:
            self._answers.popitem(last=False)
        failures = [
            error.message if name in error.message else f"{name}: {error.message}" for name, error in library.failures
        ]
        coverage = answer.coverage
        return {
            "id": key,
            "answer": answer.answer,
            "answered": answer.answered,
            "listed": answer.matches is not None,
            "reason": answer.reason,
            "pieces": [asdict(piece) for piece in pieces_of(answer)],
            "sources": [_told_source(number, source) for number, source in enumerate(answer.sources, 1)],
            "strips": [_told_strip(strip) for strip in strips(documents, answer.sources, answer.stretches)],
            "warnings": [*answer.warnings, *failures],
            "coverage": asdict(coverage),
            "model": {"base": answer.model.base, "device": answer.model.device},
            "timing": {"total_s": answer.timing.total_s, "first_token_s": answer.timing.first_token_s},
            "documents": len(library.documents) if library.collection is None else library.collection.documents,
            "password": any(_needs_password(error) for _, error in library.failures),
        }

    # -- a source ---------------------------------------------------------------------------------------------------

    async def _source(self, request: Any) -> Any:
        key, number = request.path_params["key"], request.path_params["number"]
        sight = await self._sight(key, number)
        picture = sight.picture
        told: dict[str, Any] = {
            "text": asdict(sight.text) | {"pieces": sight.text.pieces},
            "remark": sight.remark,
            "picture": None,
        }
        if picture is not None:
            told["picture"] = {
                "address": f"/page/answers/{key}/sources/{number}/picture",
                "width": picture.width,
                "height": picture.height,
                "boxes": _told_boxes(picture.boxes),
                "strong": _told_boxes(picture.strong),
                "words": picture.words,
                "boxed": picture.boxed,
            }
        return _json(told)

    async def _picture(self, request: Any) -> Any:
        sight = await self._sight(request.path_params["key"], request.path_params["number"])
        if sight.picture is None:
            raise _not_found("there is no picture of this source")
        return _response(sight.picture.data, sight.picture.kind, {"cache-control": "private, max-age=3600"})

    async def _sight(self, key: str, number: int) -> Sight:
        """What can be seen of a source; drawn once, in another process."""
        from starlette.concurrency import run_in_threadpool

        kept = self._answers.get(key)
        if kept is None or not 1 <= number <= len(kept.sources):
            raise _not_found("this source is not kept any more; ask again")
        async with self._drawing:
            if number not in kept.sights:
                sights = Sights(kept.documents, kept.password)
                source = kept.sources[number - 1]
                (kept.sights[number],) = await run_in_threadpool(sights.of, [source], kept.answer)
        return kept.sights[number]


@dataclass(frozen=True)
class _Question:
    """A checked request of the page's script."""

    question: str
    documents: list[str]
    history: list[Turn]
    settings: Settings

    @classmethod
    def of(cls, body: bytes, settings: Settings) -> _Question:
        """RefusedError for what the script would not send."""
        try:
            given = json.loads(body)
        except ValueError:
            raise RefusedError("the request is not JSON") from None
        if not isinstance(given, dict):
            raise RefusedError("the request is not an object")
        if unknown := sorted(set(given) - {"question", "documents", "history", "password"}):
            raise RefusedError(f"unknown parameter {unknown[0]!r:.80}", parameter=unknown[0][:80])
        question = given.get("question")
        if not isinstance(question, str) or not question.strip():
            raise RefusedError("the question is empty", parameter="question")
        if len(question) > LONGEST_QUESTION:
            raise RefusedError(f"a question has at most {LONGEST_QUESTION:,} characters", parameter="question")
        documents = given.get("documents")
        if not isinstance(documents, list) or not documents or not all(isinstance(name, str) for name in documents):
            raise RefusedError("choose at least one document", parameter="documents")
        password = given.get("password")
        if password is not None and not isinstance(password, str):
            raise RefusedError("a password is a text", parameter="password")
        return cls(
            question.strip(),
            documents,
            _history(given.get("history", [])),
            replace(settings, password=password) if password else settings,
        )


def _history(given: Any) -> list[Turn]:
    if not isinstance(given, list) or len(given) > MOST_TURNS:
        raise RefusedError(f"a conversation has at most {MOST_TURNS} questions", parameter="history")
    turns = []
    for one in given:
        texts = [one.get("question"), one.get("answer")] if isinstance(one, dict) else []
        if not texts or not all(isinstance(text, str) and len(text) <= 10 * LONGEST_QUESTION for text in texts):
            raise RefusedError("a turn has a question and an answer", parameter="history")
        turns.append(Turn(str(texts[0]), str(texts[1])))
    return turns


def _told_source(number: int, source: Source) -> dict[str, Any]:
    heading = source.heading if source.heading != source.part_title else None
    return {
        "number": number,
        "document": source.document,
        "place": place_words(source),
        "heading": heading,
        "columns": source.columns,
        "quote": source.quote,
        "checked": checked_words(source),
        "verified": source.verified,
        "image": source.checked == IMAGE,
        "supports": source.supports,
        "read": source.read,
    }


def _told_boxes(boxes: Sequence[Box]) -> list[list[float]]:
    return [[box.left, box.top, box.right, box.bottom] for box in boxes]


def _told_strip(strip: Strip) -> dict[str, Any]:
    return {
        "document": strip.document,
        "levels": strip.levels,
        "grains": [[round(grain.start, 5), round(grain.end, 5), grain.level] for grain in strip.grains],
        "places": [[round(one.start, 5), round(one.end, 5), one.number, one.read] for one in strip.places],
        "empty": [[number, round(place, 5)] for number, place in strip.empty],
    }


def _told_error(error: BaseException) -> dict[str, Any]:
    found = error_object(error)["error"]
    hint = found.get("hint") if isinstance(error, SharedLLMError) else None
    return {"message": found["message"], "hint": hint, "password": _needs_password(error)}


def _needs_password(error: BaseException) -> bool:
    """Whether a document would open with a (right) password."""
    return isinstance(error, DocumentError) and "--password" in (error.hint or "")


def _event(name: str, data: Any) -> bytes:
    # JSON has no raw line end, so that an event is always one line of data.
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode("ascii")


def _page_file(name: str) -> bytes:
    return (files("sharedllm_cli.serving") / "page" / name).read_bytes()


def _response(data: bytes, kind: str, headers: Mapping[str, str] | None = None) -> Any:
    from starlette.responses import Response

    return Response(data, media_type=kind, headers={"content-security-policy": POLICY, **(headers or {})})


def _json(data: Any, status: int = 200) -> Any:
    from starlette.responses import JSONResponse

    return JSONResponse(data, status, headers={"content-security-policy": POLICY})


def _not_found(message: str) -> Exception:
    from starlette.exceptions import HTTPException

    return HTTPException(404, message)
