"""A question that is sent to the warm process before the command line is parsed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sharedllm_cli.config import Settings
from sharedllm_cli.serving import ahead
from sharedllm_cli.serving.ahead import send_ahead
from sharedllm_cli.serving.host import Host
from sharedllm_cli.serving.sockets import has_sockets
from tests.serving.test_shell import QUESTION, Warm, command, timeless, told

pytestmark = pytest.mark.skipif(not has_sockets(), reason="this system has no Unix sockets")
OTHER = "What is said of bees?"


@pytest.fixture
def plain(settings: Settings, story: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings by the environment, and the story stored, so that `ask harbour.txt QUESTION` is all that is typed."""
    monkeypatch.chdir(story.parent)
    for name in ("model", "device", "chunk_tokens", "evidence_tokens", "max_new_tokens"):
        monkeypatch.setenv(f"SHAREDLLM_{name.upper()}", str(getattr(settings, name)))
    assert command("ask", "harbour.txt", QUESTION)[0] == 0
    yield
    for left in ahead._waiting:
        left.connection.close()
    ahead._waiting.clear()


@pytest.mark.parametrize("output", [[], ["--json"], ["-q"], ["-v"], ["--no-stream", "--no-sources"]])
def test_the_answer_is_that_of_a_cold_ask_and_is_asked_once(host: Host, plain: None, output: list[str]) -> None:
    words = ["ask", *output, "harbour.txt", QUESTION]
    cold = command(*words)
    with Warm(host):
        send_ahead(words, os.environ)
        assert ahead._waiting
        code, out, err = command(*words)
        assert not ahead._waiting
        assert host.turns.done == 2  # opened and asked
    assert code == cold[0]
    assert told(out) == told(cold[1]) if output == ["--json"] else out == cold[1]
    assert timeless(err) == timeless(cold[2])


@pytest.mark.parametrize(
    "sent",
    [["ask", "harbour.txt", OTHER], ["ask", "other.txt", QUESTION], ["ask", "harbour.txt", "other.txt", QUESTION]],
)
def test_what_is_asked_counts_and_not_what_was_sent_ahead(host: Host, plain: None, sent: list[str]) -> None:
    Path("other.txt").write_text("Bees fly over clover. " * 30)
    words = ["ask", "--json", "harbour.txt", QUESTION]
    cold = command(*words)
    with Warm(host):
        send_ahead(sent, os.environ)
        assert ahead._waiting
        code, out, _ = command(*words)
    assert (code, told(out)) == (cold[0], told(cold[1]))


@pytest.mark.parametrize(
    "words",
    [
        ["search", "harbour.txt", QUESTION],
        ["ask", "harbour.txt"],
        ["ask", "harbour.txt", " "],
        ["ask", QUESTION, "harbour.txt"],
        ["ask", "harbor.txt", QUESTION],
        ["ask", "--seed", "3", "harbour.txt", QUESTION],
        ["ask", "--no-serve", "harbour.txt", QUESTION],
        ["ask", ".", QUESTION],
        ["ask", "-", QUESTION],
        ["ask", "@notes", QUESTION],
        ["ask", "harbour.txt", "-x?"],
    ],
)
def test_only_a_plain_question_is_sent_ahead(host: Host, plain: None, words: list[str]) -> None:
    with Warm(host):
        send_ahead(words, os.environ)
        assert not ahead._waiting


@pytest.mark.parametrize("variable", ["SHAREDLLM_SERVE=no", "SHAREDLLM_SEED=many", "SHAREDLLM_DTYPE=float32"])
def test_settings_decide_whether_it_is_sent(
    host: Host, plain: None, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*variable.split("="))
    with Warm(host):
        send_ahead(["ask", "harbour.txt", QUESTION], os.environ)
        assert not ahead._waiting
