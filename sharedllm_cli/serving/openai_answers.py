"""Answers in the form of OpenAI's API: chat completions and responses, whole or as a stream of events.

Every source that the answer rests on is an annotation of its sentence: where it stands in the answer's text, and
document, page, label, quote and whether that was verified. The whole `Answer` is under `sharedllm`.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

from sharedllm_cli.answer import Answer, AnswerSentence, Source
from sharedllm_cli.serving.openai_requests import Asked


def citations(answer: Answer, text: str) -> list[dict[str, Any]]:
    """One for each source that a sentence rests on, or each that the whole answer does; offsets are in characters."""
    if not answer.answered:
        return []
    found: list[dict[str, Any]] = []
    at = 0
    for sentence in answer.sentences:
        start = text.find(sentence.text.strip(), at)
        if start < 0:
            continue
        at = start + len(sentence.text.strip())
        found += [_annotation(answer.sources[number - 1], number, start, at) for number in sentence.sources]
    if found:
        return found
    resting = [(number, source) for number, source in enumerate(answer.sources, 1) if source.supports]
    return [_annotation(source, number, 0, len(text)) for number, source in resting]


def _annotation(source: Source, number: int, start: int, end: int) -> dict[str, Any]:
    return {
        "type": "file_citation",
        "file_id": source.document,
        "filename": source.document,
        "index": end,
        "start_index": start,
        "end_index": end,
        "source": number,
        "document": source.document,
        "page": source.page if source.paged else None,
        "page_label": source.page_label,
        "heading": source.heading,
        "quote": source.quote,
        "verified": source.verified,
    }


def _finish(answer: Answer, asked: Asked) -> str:
    return "length" if answer.timing.new_tokens >= asked.settings.max_new_tokens else "stop"


def _event(data: Any, name: str | None = None) -> bytes:
    head = f"event: {name}\n" if name else ""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return f"{head}data: {text}\n\n".encode()


class ChatCompletion:
    """The form of `/v1/chat/completions`."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._text = ""

    def whole(self, pieces: list[Any]) -> dict[str, Any]:
        """The response, of all pieces of an answer."""
        answer: Answer = pieces[-1]
        message = {
            "role": "assistant",
            "content": answer.answer,
            "refusal": None,
            "annotations": citations(answer, answer.answer),
        }
        choice = {"index": 0, "message": message, "finish_reason": _finish(answer, self._asked), "logprobs": None}
        return self._object("chat.completion", [choice]) | {"usage": _usage(answer), "sharedllm": answer.to_json()}

    def begin(self) -> Iterator[bytes]:
        """The events before an answer's first piece."""
        yield self._chunk({"role": "assistant", "content": ""})

    def piece(self, piece: str | AnswerSentence | Answer) -> Iterator[bytes]:
        """The events of a piece."""
        if isinstance(piece, str):
            self._text += piece
            yield self._chunk({"content": piece})
        elif isinstance(piece, Answer):
            yield self._chunk({"annotations": citations(piece, self._text)})
            yield self._chunk({}, _finish(piece, self._asked), {"sharedllm": piece.to_json()})
            if self._asked.usage:
                yield _event(self._object("chat.completion.chunk", []) | {"usage": _usage(piece)})
            yield _event("[DONE]")

    def failed(self, error: dict[str, Any]) -> Iterator[bytes]:
        """The events of an answer that ended in an error."""
        yield _event(error)

    def _chunk(self, delta: dict[str, Any], finish: str | None = None, more: dict[str, Any] | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return _event(self._object("chat.completion.chunk", [choice]) | (more or {}))

    def _object(self, kind: str, choices: list[Any]) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._asked.model,
            "choices": choices,
        }


class Response:
    """The form of `/v1/responses`. Nothing is stored: a response can't be gone on from by its id."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._id, self._item = f"resp_{uuid.uuid4().hex}", f"msg_{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._text = ""
        self._number = -1

    def whole(self, pieces: list[Any]) -> dict[str, Any]:
        """The response, of all pieces of an answer."""
        answer: Answer = pieces[-1]
        return self._done(answer, answer.answer)

    def begin(self) -> Iterator[bytes]:
        """The events before an answer's first piece."""
        for kind in ("response.created", "response.in_progress"):
            yield self._told(kind, response=self._object("in_progress", []))
        item = {"id": self._item, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        yield self._told("response.output_item.added", output_index=0, item=item)
        yield self._told("response.content_part.added", **self._place(), part=self._part("", []))

    def piece(self, piece: str | AnswerSentence | Answer) -> Iterator[bytes]:
        """The events of a piece."""
        if isinstance(piece, str):
            self._text += piece
            yield self._told("response.output_text.delta", **self._place(), delta=piece, logprobs=[])
        elif isinstance(piece, Answer):
            cited = citations(piece, self._text)
            for number, one in enumerate(cited):
                yield self._told(
                    "response.output_text.annotation.added", **self._place(), annotation_index=number, annotation=one
                )
            yield self._told("response.output_text.done", **self._place(), text=self._text, logprobs=[])
            yield self._told("response.content_part.done", **self._place(), part=self._part(self._text, cited))
            done = self._done(piece, self._text)
            yield self._told("response.output_item.done", output_index=0, item=done["output"][0])
            yield self._told(f"response.{done['status']}", response=done)

    def failed(self, error: dict[str, Any]) -> Iterator[bytes]:
        """The events of an answer that ended in an error."""
        told = error["error"]
        yield self._told("error", code=told["code"] or told["type"], message=told["message"], param=told["param"])

    def _done(self, answer: Answer, text: str) -> dict[str, Any]:
        whole = _finish(answer, self._asked) == "stop"
        status = "completed" if whole else "incomplete"
        message = {
            "id": self._item,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [self._part(text, citations(answer, text))],
        }
        usage = _usage(answer)
        return self._object(status, [message]) | {
            "incomplete_details": None if whole else {"reason": "max_output_tokens"},
            "usage": {
                "input_tokens": usage["prompt_tokens"],
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": usage["completion_tokens"],
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage["total_tokens"],
            },
            "sharedllm": answer.to_json(),
        }

    def _object(self, status: str, output: list[Any]) -> dict[str, Any]:
        settings = self._asked.settings
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "model": self._asked.model,
            "output": output,
            "error": None,
            "incomplete_details": None,
            "instructions": self._asked.instructions,
            "metadata": self._asked.metadata,
            "max_output_tokens": settings.max_new_tokens,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "store": False,
            "tool_choice": "none",
            "tools": [],
            "truncation": "disabled",
            "usage": None,
        }

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._item, "output_index": 0, "content_index": 0}

    def _part(self, text: str, cited: list[dict[str, Any]]) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": cited, "logprobs": []}

    def _told(self, kind: str, **more: Any) -> bytes:
        self._number += 1
        return _event({"type": kind, "sequence_number": self._number, **more}, kind)


def _usage(answer: Answer) -> dict[str, int]:
    read, written = answer.prompt_tokens, answer.timing.new_tokens
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
