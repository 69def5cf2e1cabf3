"""The OpenAPI description admits of a chat request what the server takes, and nothing else."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from sharedllm_cli.config import Settings
from sharedllm_cli.serving.granted import Granted
from sharedllm_cli.serving.http_errors import RefusedError
from sharedllm_cli.serving.openai_requests import chat_request, model_names
from sharedllm_cli.serving.openapi import description

jsonschema = pytest.importorskip("jsonschema")

MISSING = object()
VALUES: dict[str, tuple[Any, ...]] = {
    "stream": (MISSING, None, False, True),
    "stream_options": (MISSING, None, {}, {"include_usage": True}, {"more": 1}),
    "max_tokens": (MISSING, None, 4, 0),
    "max_completion_tokens": (MISSING, None, 4),
    "n": (MISSING, 1, 2),
}


def taken(body: dict[str, Any], granted: Granted) -> bool:
    try:
        chat_request(json.dumps(body).encode(), granted, Settings())
    except RefusedError:
        return False
    return True


def test_what_is_described_is_what_is_taken(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("The keeper lit the lamp.")
    granted = Granted([str(tmp_path / "log.txt")])
    paths = description(model_names(granted))["paths"]
    schema = paths["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    valid = jsonschema.Draft202012Validator(schema)
    answers = set()
    for values in product(*VALUES.values()):
        body: dict[str, Any] = {"model": "sharedllm/log.txt", "messages": [{"role": "user", "content": "Who?"}]}
        body |= {name: value for name, value in zip(VALUES, values, strict=True) if value is not MISSING}
        answers.add(found := taken(body, granted))
        assert found == valid.is_valid(body), body
    assert answers == {True, False}


def test_streams_have_no_schema_that_their_events_would_break(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("The keeper lit the lamp.")
    paths = description(model_names(Granted([str(tmp_path / "log.txt")])))["paths"]
    for path in ("/v1/chat/completions", "/v1/responses"):
        assert paths[path]["post"]["responses"]["200"]["content"]["text/event-stream"] == {}
