"""OpenAI's own client against a real server: models, chat completions and responses, whole and streamed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

openai = pytest.importorskip("openai")

from sharedllm_cli.answer import Answer, AnswerSentence, Coverage, IndexUse, ModelUse, Source, Timing, TreeRead  # noqa: E402
from sharedllm_cli.serving.host import Host  # noqa: E402
from sharedllm_cli.serving.turns import Job  # noqa: E402

QUESTION = "Who lights the beacon?"
MODEL = "sharedllm/harbour.txt"
TEXT = "Old Marten lights it. He does so at dusk."


@pytest.fixture
def client(serving: Callable[..., Any]) -> Iterator[Any]:
    with serving() as address:
        yield openai.OpenAI(base_url=f"{address}/v1", api_key="unused", max_retries=0)


def source(number: int, *, supports: bool = True) -> Source:
    return Source(
        "harbour.txt", number, "ii", f"quote {number}", True, 0.5, 0, 0, 0, paged=True, supports=supports, heading="H"
    )


def scripted(**changes: Any) -> Answer:
    return Answer(
        **{
            "question": QUESTION,
            "answer": TEXT,
            "sources": [source(1), source(2), source(3, supports=False)],
            "coverage": Coverage(10, 10, 1, 1, []),
            "tree": TreeRead(0, 0, None, "hybrid"),
            "answered": True,
            "reason": None,
            "index": IndexUse(True, False, None, 0),
            "model": ModelUse("tiny", None, False, False, "none", "cpu"),
            "timing": Timing(new_tokens=5),
            "peak_bytes": 1,
            "sentences": [
                AnswerSentence("Old Marten lights it.", [1], []),
                AnswerSentence("He does so at dusk.", [1, 2], []),
            ],
            "prompt_tokens": 40,
            **changes,
        }
    )


@pytest.fixture
def script(host: Host, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Questions as the host gets them; the answer is always the same, and no model is asked."""
    asked: list[dict[str, Any]] = []

    def asking(documents: list[str], question: str, **more: Any) -> Any:
        asked.append({"documents": documents, "question": question, **more})

        def work(job: Job) -> Iterator[Any]:
            yield from ("Old Marten ", "lights it.")
            yield AnswerSentence("Old Marten lights it.", [1], [])
            yield " He does so at dusk."
            yield scripted()

        return work

    monkeypatch.setattr(host, "asking", asking)
    return asked


def test_every_granted_document_is_a_model(client: Any) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).object == "model"
    for name in ("sharedllm/other.txt", "gpt-4", "sharedllm//etc/passwd", "sharedllm/../harbour.txt"):
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve(name)
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model=name, messages=[{"role": "user", "content": QUESTION}])


def test_a_chat_completion_is_the_answer_of_the_engine(client: Any, host: Host, story: Path) -> None:
    expected = [*host.run(host.asking([str(story)], QUESTION))][-1]
    expected = [*host.run(host.asking([str(story)], QUESTION))][-1]  # the index is there now
    found = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": QUESTION}])
    assert found.choices[0].message.content == expected.answer
    told, own = found.sharedllm, expected.to_json()
    for name in ("timing", "memory"):
        del told[name], own[name]
    assert told == own
    assert found.usage.completion_tokens == expected.timing.new_tokens
    assert found.usage.prompt_tokens == expected.prompt_tokens > 0
    pieces = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": QUESTION}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [*pieces]
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert streamed.strip() == expected.answer
    assert chunks[-1].usage.total_tokens == found.usage.total_tokens


def test_citations_are_annotations_of_their_sentences(client: Any, script: Any) -> None:
    for stream in (False, True):
        found = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": QUESTION}], stream=stream
        )
        if stream:
            deltas = [chunk.choices[0] for chunk in found]
            text = "".join(one.delta.content or "" for one in deltas)
            cited = next(one.delta.annotations for one in deltas if getattr(one.delta, "annotations", None))
            assert deltas[-1].finish_reason == "stop"
        else:
            text, cited = found.choices[0].message.content, found.choices[0].message.annotations
            cited = [one.model_dump() for one in cited]
        assert text == TEXT
        assert [(text[one["start_index"] : one["end_index"]], one["source"]) for one in cited] == [
            ("Old Marten lights it.", 1),
            ("He does so at dusk.", 1),
            ("He does so at dusk.", 2),
        ]
        first = cited[0]
        assert {first["document"], first["filename"], first["file_id"]} == {"harbour.txt"}
        assert (first["page"], first["page_label"], first["quote"], first["verified"]) == (1, "ii", "quote 1", True)
        assert first["type"] == "file_citation"


def test_responses_whole_and_streamed(client: Any, script: Any) -> None:
    whole = client.responses.create(model=MODEL, input=QUESTION, metadata={"a": "b"})
    assert whole.output_text == TEXT
    assert whole.status == "completed"
    assert whole.metadata == {"a": "b"}
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (40, 5)
    assert [one.page for one in whole.output[0].content[0].annotations] == [1, 1, 2]
    events = [*client.responses.create(model=MODEL, input=QUESTION, stream=True)]
    assert "".join(one.delta for one in events if one.type == "response.output_text.delta") == TEXT
    assert [one.sequence_number for one in events] == [*range(len(events))]
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == TEXT
    assert len([one for one in events if one.type == "response.output_text.annotation.added"]) == 3


def test_messages_become_system_history_and_question(client: Any, script: list[dict[str, Any]], story: Path) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "Marten."},
        {"role": "developer", "content": "In English."},
        {"role": "user", "content": [{"type": "text", "text": "And"}, {"type": "text", "text": "when?"}]},
    ]
    client.chat.completions.create(
        model=MODEL,
        messages=messages,
        max_completion_tokens=9,
        temperature=0.5,
        top_p=0.9,
        seed=3,
        n=1,
        extra_body={"pages": "1-2", "section": "4.2", "policy": "bm25", "evidence_tokens": 100},
    )
    client.responses.create(model=MODEL, instructions="Be brief.\n\nIn English.", input=messages[1:3] + messages[4:])
    first, second = script
    assert first["documents"] == [str(story)]
    assert first["question"] == second["question"] == "And\nwhen?"
    turns = [[(turn.question, turn.answer) for turn in one["history"]] for one in script]
    assert turns == [[("Who?", "Marten.")]] * 2
    assert first["settings"].system == second["settings"].system == "Be brief.\n\nIn English."
    chosen = first["settings"]
    assert (chosen.max_new_tokens, chosen.temperature, chosen.top_p, chosen.seed) == (9, 0.5, 0.9, 3)
    assert (chosen.policy, chosen.evidence_tokens, first["pages"], first["section"]) == ("bm25", 100, "1-2", "4.2")


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("frobnicate", 1),
        ("n", 2),
        ("tools", [{"type": "function"}]),
        ("temperature", 3),
        ("temperature", "hot"),
        ("top_p", 0),
        ("seed", -1),
        ("seed", True),
        ("max_tokens", 0),
        ("stream_options", {"include_usage": True}),
        ("messages", []),
        ("messages", [{"role": "assistant", "content": "I"}]),
        ("messages", [{"role": "user", "content": " "}]),
        ("evidence_tokens", -1),
        ("policy", "magic"),
        ("store", True),
        ("stop", ["x"]),
    ],
)
def test_what_is_not_understood_is_refused_by_its_name(client: Any, script: Any, parameter: str, value: Any) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], parameter: value}
    with pytest.raises(openai.BadRequestError) as refused:
        client.post("/chat/completions", body=body, cast_to=object)
    told = refused.value.body
    assert told["param"] in (parameter, {"max_tokens": "max_new_tokens"}.get(parameter))
    assert parameter.split("_")[0] in told["message"] or parameter == "messages"
    assert script == []


def test_errors_come_as_their_status_also_in_a_stream(client: Any, story: Path, host: Host) -> None:
    def ask(**more: Any) -> Any:
        found = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": QUESTION}], **more)
        return [*found] if more.get("stream") else found

    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="pages"):
            ask(stream=stream, extra_body={"pages": "900"})
    story.write_text("")
    for stream in (False, True):
        with pytest.raises(openai.UnprocessableEntityError, match="empty"):
            ask(stream=stream)
    story.unlink()
    with pytest.raises(openai.NotFoundError):
        ask()


def test_an_error_within_a_stream_is_an_event(client: Any, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def asking(*_: Any, **__: Any) -> Any:
        def work(job: Job) -> Iterator[Any]:
            yield "Old "
            raise MemoryError

        return work

    monkeypatch.setattr(host, "asking", asking)
    with pytest.raises(openai.APIError, match="not enough memory"):
        list(client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "?"}], stream=True))
    events = [*client.responses.create(model=MODEL, input="?", stream=True)]
    assert events[-1].type == "error"


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_who_leaves_stops_the_answer(
    client: Any, host: Host, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    begun, ended = threading.Event(), threading.Event()

    def asking(*_: Any, **__: Any) -> Any:
        def work(job: Job) -> Iterator[Any]:
            try:
                begun.set()
                while True:
                    yield "more "
                    time.sleep(0.01)
            finally:
                ended.set()

        return work

    monkeypatch.setattr(host, "asking", asking)
    if stream:
        pieces = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "?"}], stream=True)
        next(iter(pieces))
        pieces.close()
    else:
        with pytest.raises(openai.APITimeoutError):
            client.responses.create(model=MODEL, input="?", timeout=0.5)
    assert begun.wait(60)
    assert ended.wait(60)
