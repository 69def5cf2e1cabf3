"""Connections that keep a place without using it are closed: those that send no request, and those that read nothing.

What a request's body may take is `guard.py`'s. Knows no HTTP: it looks at the server's connections from time to time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

SILENT_SECONDS = 30.0
"""So long a connection may be open, or stay open after an answer, without a whole request's head."""
UNREAD_SECONDS = 60.0
"""So long the other end may take nothing of what was sent."""


class Patience:
    """Looks at a server's connections (uvicorn's protocols) and ends those for which nobody should wait."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[Any, tuple[object, float]] = {}
        """What was last seen of a connection that waits for its other end, and since when it is so."""

    def look(self, connections: Iterable[Any]) -> None:
        """Close what has been the same for too long. Called in the server's event loop."""
        now, seen = self._clock(), dict[Any, tuple[object, float]]()
        for one in list(connections):
            state, limit = _state(one)
            if limit is None:
                continue
            before, since = self._seen.get(one, (None, now))
            if state != before:
                since = now
            if now - since >= limit:
                one.transport.abort()  # to close it would be to wait until it has read what was sent
            else:
                seen[one] = state, since
        self._seen = seen


def _state(connection: Any) -> tuple[object, float | None]:
    """What has to change about a connection, and within what time; None where we are the ones who work."""
    cycle = connection.cycle
    if connection.transport.get_write_buffer_size():
        return ("unread", id(cycle), connection.transport.get_write_buffer_size()), UNREAD_SECONDS
    if cycle is None or cycle.response_complete:
        return ("silent", id(cycle)), SILENT_SECONDS
    return None, None
