"""What stands before every request: who may ask, from which page, with how many bytes, in how much time.

Plain ASGI, and first in line. A page of another site can make a browser send requests to this machine: names that lead
here by a changed DNS answer are refused by their Host header, requests that another site's page makes by Origin and
Sec-Fetch-Site. Nothing allows another origin to read a response.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sharedllm_cli.serving.http_errors import error_response

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

MOST_BODY_BYTES = 4_000_000
"""A request's body, unless its path is granted more (`more_bytes`)."""
BODY_SECONDS = 30.0
"""A body has arrived within this time, and one that takes longer arrives at `SLOWEST_BYTES` a second or more."""
SLOWEST_BYTES = 100_000
COOKIE = "sharedllm_token"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """Refuses what may not come in; passes everything else on with a bounded body.

    `hosts`: names by which the server may be called beside the loopback's; with None any (a token is then needed).
    `token`: what a caller has to know. `more_bytes`: paths (or their beginnings) that take larger bodies.
    """

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        *,
        token: str | None = None,
        hosts: Collection[str] | None = (),
        more_bytes: Mapping[str, int] | None = None,
    ) -> None:
        assert token or hosts is not None, "a server for any name needs a token"
        self._app = app
        self._token = token
        self._hosts = None if hosts is None else LOOPBACK | {host.lower() for host in hosts}
        self._more_bytes = more_bytes or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no web socket is spoken here: the server closes it
        headers = _headers(scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            status, message = refusal
            more = {"www-authenticate": "Bearer"} if status == 401 else {}
            await error_response(status, message, headers=more)(scope, receive, send)
            return
        limit = self._limit(scope["path"])
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or int(declared[:20]) > limit:
            await error_response(413, f"a request has at most {limit:,} bytes")(scope, receive, send)
            return
        if (entered := self._entered(scope)) is not None:
            await _redirect(entered, self._token or "")(scope, receive, send)
            return
        await self._app(scope, _Bounded(receive, limit), _hardened(send))

    def _refusal(self, scope: Scope, headers: Mapping[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if self._hosts is not None and _name_of(host) not in self._hosts:
            return 421, "this server is not called so"
        origin = headers.get("origin")
        if origin is not None and not _same(origin, host, scope):
            return 403, "requests from other pages are refused"
        moves = headers.get("sec-fetch-mode") == "navigate" and scope["method"] in ("GET", "HEAD")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not moves:
            return 403, "requests from other pages are refused"
        if self._token is not None and not self._knows_token(scope, headers):
            return 401, "a token is needed"
        return None

    def _knows_token(self, scope: Scope, headers: Mapping[str, str]) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        offered = [given.strip()] if kind.lower() == "bearer" else []
        cookie: SimpleCookie = SimpleCookie()
        try:
            cookie.load(headers.get("cookie", ""))
        except CookieError:
            cookie = SimpleCookie()
        if COOKIE in cookie:
            offered.append(cookie[COOKIE].value)
        if scope["method"] == "GET":
            offered += _asked(scope).get("token", [])
        expected = (self._token or "").encode()
        return any(hmac.compare_digest(one.encode("utf-8", "replace"), expected) for one in offered)

    def _entered(self, scope: Scope) -> str | None:
        """Where to go on without the token in the address, for a person who came with it there."""
        if self._token is None or scope["method"] != "GET" or "token" not in _asked(scope):
            return None
        return str(scope["path"])

    def _limit(self, path: str) -> int:
        found = [limit for start, limit in self._more_bytes.items() if path.startswith(start)]
        return max(found, default=MOST_BODY_BYTES)


class _Bounded:
    """A request's messages, whose body ends in an error where it grows too long or takes too much time."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._left, self._whole = receive, limit, False
        self._until: float | None = None

    async def __call__(self) -> dict[str, Any]:
        if self._whole:
            return await self._receive()
        if self._until is None:
            self._until = time.monotonic() + BODY_SECONDS
        try:
            message = await asyncio.wait_for(self._receive(), self._until - time.monotonic())
        except TimeoutError:
            raise BodyError(408, f"the request did not arrive within {BODY_SECONDS:.0f} seconds") from None
        if message["type"] == "http.request":
            arrived = len(message.get("body", b""))
            self._left -= arrived
            self._until += arrived / SLOWEST_BYTES
            self._whole = not message.get("more_body", False)
            if self._left < 0:
                raise BodyError(413, "the request is too long")
        return message


class BodyError(Exception):
    """A body that is too long or too slow."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def _headers(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        # Twice the same header means that somebody on the way may read the other one.
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _name_of(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _same(origin: str, host: str, scope: Scope) -> bool:
    return origin.lower() in (f"http://{host}".lower(), f"https://{host}".lower())


def _asked(scope: Scope) -> dict[str, list[str]]:
    return parse_qs(scope.get("query_string", b"").decode("latin-1"), max_num_fields=None)


def _redirect(path: str, token: str) -> Any:
    from starlette.responses import RedirectResponse

    where = "/" + path.lstrip("/")  # `//name` would be another server
    response = RedirectResponse(where, status_code=303)
    response.set_cookie(COOKIE, token, httponly=True, samesite="strict")
    return response


def _hardened(send: Send) -> Send:
    async def with_headers(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message.get("headers", [])}
            message["headers"] = [
                *message.get("headers", []),
                *(header for header in HEADERS if header[0] not in present),
            ]
        await send(message)

    return with_headers
