"""Callers: many requests at once to a server of its own process, by the page's and the OpenAI form, and slow clients.

    python tests/campaigns/callers.py --requests 1000 --at-once 50 --slow 100

The model is tiny, random and made here. Fails where a request is lost, where its answer is not the one given alone,
where the server's memory has grown by more than 30 MB since the first tenth, or where clients that send a byte a
second, send nothing, or never read what they asked for delay others or stay connected.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import psutil  # noqa: E402
from tiny_models import make_byte_tokenizer, make_tiny_model  # noqa: E402

STORY = "The harbour master keeps ledger {0}. Old Marten lights beacon {0} at dusk. The key of it hangs in chapel {0}. "
QUESTIONS = [f"Who lights beacon {number}?" for number in range(10)]
NAME = "harbour.txt"
GROWTH = 30e6
ENDED_SECONDS = 120.0
"""The server's bounds of 30 and 60 seconds have certainly passed by then."""


def post(port: int, path: str, given: dict[str, Any]) -> str:
    """The body of an answer; an error of the server ends the run."""
    connection = HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        connection.request("POST", path, json.dumps(given), {"Content-Type": "application/json"})
        response = connection.getresponse()
        body = response.read().decode()
        assert response.status == 200, (response.status, body[:300])
        return body
    finally:
        connection.close()


def events(body: str) -> list[dict[str, Any]]:
    """The objects of server-sent events."""
    lines = [line.removeprefix("data: ") for line in body.splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


def chat(port: int, question: str) -> str:
    """The words of a chat completion."""
    asked = [{"role": "user", "content": question}]
    found = json.loads(post(port, "/v1/chat/completions", {"model": f"sharedllm/{NAME}", "messages": asked}))
    return str(found["choices"][0]["message"]["content"])


def chat_streamed(port: int, question: str) -> str:
    """The same, as it is written."""
    asked = [{"role": "user", "content": question}]
    given = {"model": f"sharedllm/{NAME}", "messages": asked, "stream": True}
    body = post(port, "/v1/chat/completions", given)
    assert body.rstrip().endswith("data: [DONE]"), body[-300:]
    pieces = [choice["delta"].get("content") or "" for event in events(body) for choice in event["choices"]]
    return "".join(pieces).strip()


def response(port: int, question: str) -> str:
    """The words of a response."""
    found = json.loads(post(port, "/v1/responses", {"model": f"sharedllm/{NAME}", "input": question}))
    return "".join(part["text"] for item in found["output"] for part in item["content"])


def page(port: int, question: str) -> str:
    """The words of the page's answer."""
    told = events(post(port, "/page/ask", {"question": question, "documents": [NAME]}))[-1]
    return str(told["answer"])


WAYS: list[Callable[[int, str], str]] = [chat, chat_streamed, response, page]


@contextmanager
def served(folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """A server of a process of its own."""
    model, document = folder / "model", folder / NAME
    make_tiny_model("llama", max_position_embeddings=8192).save_pretrained(model)
    make_byte_tokenizer().save_pretrained(model)
    document.write_text("".join(STORY.format(number) for number in range(40)))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--offline", "--evidence-tokens", "200", "--max-new-tokens", "6", "--port", str(port), "-m", str(model)]
    command = [sys.executable, "-m", "sharedllm_cli", "serve", str(document), *options]
    environment = {**os.environ, "SHAREDLLM_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 120
            while True:
                assert process.poll() is None, process.returncode
                assert time.monotonic() < until
                with suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                time.sleep(0.2)
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(30)


def told(name: str, begun: float, **facts: Any) -> None:
    """Print what a part did."""
    print(json.dumps({"part": name, "seconds": round(time.monotonic() - begun, 1), **facts}), flush=True)


def many(port: int, process: psutil.Process, count: int, at_once: int) -> None:
    """Send `count` requests in each way in turn, `at_once` of them at a time."""
    alone = {question: chat(port, question) for question in QUESTIONS}
    assert len(set(alone.values())) > 1, alone
    begun, done, memory, lock = time.monotonic(), 0, [], threading.Lock()

    def one(number: int) -> float:
        nonlocal done
        asked_at, question = time.monotonic(), QUESTIONS[number % len(QUESTIONS)]
        way = WAYS[number // len(QUESTIONS) % len(WAYS)]
        found = way(port, question)
        assert found == alone[question], (way.__name__, question, found, alone[question])
        with lock:
            done += 1
            if done % max(1, count // 10) == 0:
                memory.append(process.memory_info().rss)
                told("some of the requests", begun, requests=done, rss=memory[-1])
        return time.monotonic() - asked_at

    with ThreadPoolExecutor(at_once) as pool:
        took = [*pool.map(one, range(count))]
    connections = len([one for one in process.net_connections() if one.status == "ESTABLISHED"])
    told("requests", begun, requests=len(took), at_once=at_once, longest=round(max(took), 1), open=connections)
    assert len(took) == done == count
    assert max(memory) - memory[0] < GROWTH, memory


def slow(port: int, process: psutil.Process, count: int) -> None:
    """So many slow clients of each kind, while others ask; then each of them has been sent away."""
    before = [timed(port, question) for question in QUESTIONS]
    begun, left = time.monotonic(), []
    host = f"Host: 127.0.0.1:{port}\r\n"
    post_head = f"POST /v1/chat/completions HTTP/1.1\r\n{host}Content-Type: application/json\r\n"
    asked = {"model": f"sharedllm/{NAME}", "stream": True, "messages": [{"role": "user", "content": QUESTIONS[0]}]}
    body = json.dumps(asked)
    kinds = {
        "nothing": ("", ""),
        "head": (f"GET /health HTTP/1.1\r\n{host}", "X-More: 1\r\n" * 100),
        "body": (f"{post_head}Content-Length: 100000\r\n\r\n", "x" * 1000),
        "refused": ("POST /page/ask HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100000\r\n\r\n", "x" * 1000),
        "unread": (f"{post_head}Content-Length: {len(body)}\r\n\r\n{body}", ""),
    }
    for kind, (head, more) in kinds.items():
        for _ in range(count):
            one = socket.socket()
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            one.connect(("127.0.0.1", port))
            one.sendall(head.encode())
            left.append((kind, one, iter(more)))
    opened, during, ended = len(left), [], dict.fromkeys(kinds, 0)
    while left and time.monotonic() - begun < ENDED_SECONDS:
        during += [timed(port, question) for question in QUESTIONS[:2]]
        staying = []
        for kind, one, more in left:
            try:
                one.sendall(next(more, "").encode())
                gone = kind != "unread" and one.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
            except BlockingIOError:
                gone = False
            except OSError:
                gone = True
            if kind != "unread" and not gone:
                with suppress(BlockingIOError, ConnectionError):
                    one.recv(100_000, socket.MSG_DONTWAIT)
            if gone:
                ended[kind] += 1
                one.close()
            else:
                staying.append((kind, one, more))
        left = staying
        if left and all(kind == "unread" for kind, _, _ in left):
            break
        time.sleep(1)
    times = {"before": round(max(before), 2), "longest": round(max(during), 2), "asked": len(during)}
    told("slow clients", begun, opened=opened, sent_away=ended, **times, rss=process.memory_info().rss)
    assert all(kind == "unread" for kind, _, _ in left), ended
    # Small answers fit into the system's buffers: the server was done with them, and closed the silent connection.
    until = time.monotonic() + ENDED_SECONDS
    while [one for one in process.net_connections() if one.status == "ESTABLISHED"]:
        assert time.monotonic() < until
        time.sleep(1)
    for _, one, _ in left:
        one.close()
    told("no connection is left", begun)


def timed(port: int, question: str) -> float:
    """The seconds of an answer on the page: its turn comes between those of programs."""
    begun = time.monotonic()
    assert page(port, question)
    return time.monotonic() - begun


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("requests", 1000), ("at-once", 50), ("slow", 50)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made, served(Path(made)) as (port, process):
        if given.requests:
            many(port, process, given.requests, given.at_once)
        if given.slow:
            slow(port, process, given.slow)


if __name__ == "__main__":
    main()
