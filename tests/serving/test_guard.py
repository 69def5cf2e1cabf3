"""Who may ask over HTTP: this machine's own pages and programs, with the token where there is one, within bounds."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from sharedllm_cli.serving import guard as guard_module
from sharedllm_cli.serving.guard import BODY_SECONDS, COOKIE, is_loopback

TOKEN = "a-token-of-sixteen-or-more"
BODY = json.dumps({"model": "sharedllm/none.txt", "messages": [{"role": "user", "content": "?"}]})


@pytest.fixture
def address(serving: Callable[..., Any]) -> Iterator[str]:
    with serving(more_bytes={"/v1/responses": 5_000_000}) as found:
        yield found.removeprefix("http://")


def ask(address: str, method: str = "GET", path: str = "/health", body: Any = None, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body.encode() if isinstance(body, str) else body)
    response = connection.getresponse()
    found = response.status, response
    response.text = response.read().decode()  # type: ignore[attr-defined]
    connection.close()
    return found


def test_this_machine_is_served_under_its_own_names(address: str) -> None:
    port = address.rpartition(":")[2]
    for name in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]"):
        status, response = ask(address, Host=f"{name}:{port}")
        assert status == 200
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in response.headers
        assert "server" not in response.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost@evil.example"},
        {"Host": ""},
        {"Host": "[::1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "no-cors"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_other_sites_pages_are_refused(address: str, headers: dict[str, str], method: str) -> None:
    path = "/health" if method == "GET" else "/v1/chat/completions"
    status, response = ask(address, method, path, BODY if method == "POST" else None, **headers)
    assert status in (403, 421)
    assert "error" in json.loads(response.text)


def test_its_own_page_and_a_link_from_elsewhere_are_served(address: str) -> None:
    assert ask(address, Origin=f"http://{address}", Sec_Fetch_Site="same-origin")[0] == 200
    assert ask(address, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200
    assert ask(address, "POST", "/v1/responses", "{}", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 403


def test_a_token_is_needed_where_there_is_one(serving: Callable[..., Any]) -> None:
    with serving(token=TOKEN, hosts=None) as found:
        address = found.removeprefix("http://")
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Cookie": f"{COOKIE}=wrong"}):
            assert ask(address, **headers)[0] == 401
        assert ask(address, "POST", f"/v1/responses?token={TOKEN}", "{}")[0] == 401
        assert ask(address, Authorization=f"Bearer {TOKEN}")[0] == 200
        assert ask(address, Authorization=f"Bearer {TOKEN}", Host="my-machine.lan")[0] == 200
        status, response = ask(address, path=f"//evil.example/?token={TOKEN}")
        assert status == 303
        assert response.headers["Location"] == "/evil.example/"
        cookie = response.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert ask(address, Cookie=f"{COOKIE}={TOKEN}")[0] == 200


def test_bodies_are_bounded(address: str) -> None:
    large = "x" * 4_100_000
    assert ask(address, "POST", "/v1/chat/completions", large)[0] == 413
    assert ask(address, "POST", "/v1/responses", large)[0] == 400  # larger ones are granted there
    for length in ("-1", "many", "9" * 40):
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n"
        assert raw(address, head.encode()).split()[1] in (b"400", b"413")
    chunk = b"186A0\r\n" + b"x" * 100_000 + b"\r\n"
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address}\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert raw(address, head.encode() + chunk * 45).split()[1] == b"413"


def test_a_slow_body_ends(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert BODY_SECONDS > 1
    monkeypatch.setattr(guard_module, "BODY_SECONDS", 0.2)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address}\r\nContent-Length: 10\r\n\r\n1"
    assert raw(address, head.encode()).split()[1] == b"408"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_arrives_byte_by_byte_ends(address: str, chunked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "BODY_SECONDS", 0.5)
    length = "Transfer-Encoding: chunked" if chunked else "Content-Length: 1000"
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address}\r\n{length}\r\n\r\n"
    name, _, port = address.partition(":")
    with socket.create_connection((name, int(port)), timeout=0.05) as connection:
        connection.sendall(head.encode())
        begun, said = time.monotonic(), b""
        while not said and time.monotonic() - begun < 10:
            connection.sendall(b"1\r\nx\r\n" if chunked else b"x")
            with suppress(TimeoutError):
                said = connection.recv(1000)
    assert said.split()[1] == b"408"


def test_a_long_body_has_the_time_of_its_length(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "BODY_SECONDS", 0.5)
    monkeypatch.setattr(guard_module, "SLOWEST_BYTES", 10_000)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address}\r\nContent-Length: 50000\r\n\r\n"
    name, _, port = address.partition(":")
    with socket.create_connection((name, int(port)), timeout=20) as connection:
        connection.sendall(head.encode())
        for _ in range(10):
            connection.sendall(b"x" * 5_000)
            time.sleep(0.12)
        assert connection.recv(1000).split()[1] == b"400"  # it arrived, and is no JSON


def raw(address: str, data: bytes) -> bytes:
    name, _, port = address.partition(":")
    with socket.create_connection((name, int(port)), timeout=20) as connection:
        with suppress(OSError):
            connection.sendall(data)
        return connection.recv(1000)


def test_errors_have_one_form(address: str) -> None:
    for method, path, expected in (("GET", "/nothing", 404), ("GET", "/v1/responses", 405), ("DELETE", "/health", 405)):
        status, response = ask(address, method, path)
        assert status == expected
        assert set(json.loads(response.text)["error"]) >= {"message", "type", "param", "code"}
    for body in ("", "[]", "{", "nul", '{"a": 1e999}', "[" * 5000, '{"model": "\\ud800"}', "\xff"):
        assert ask(address, "POST", "/v1/chat/completions", body.encode("latin-1"))[0] in (400, 404)
    assert ask(address, "POST", "/v1/responses?x=1", BODY)[0] == 400


def test_what_is_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.2", "my-machine", "", "127.0.0.1.evil.example")))


def test_the_description_names_every_endpoint_and_parameter(address: str) -> None:
    from sharedllm_cli.serving.openai_requests import CHAT, RESPONSES

    paths = json.loads(ask(address, path="/openapi.json")[1].text)["paths"]
    assert set(paths) == {"/health", "/v1/models", "/v1/models/{name}", "/v1/chat/completions", "/v1/responses"}
    for path, known in (("/v1/chat/completions", CHAT), ("/v1/responses", RESPONSES)):
        schema = paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert set(known) <= set(schema["properties"])
        assert schema["properties"]["model"]["enum"] == ["sharedllm/harbour.txt"]
