"""`sharedllm mcp`: the documents as tools and resources for the model of another program."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

from sharedllm_cli.cli.call import Call
from sharedllm_cli.cli.listening import (
    Ended,
    granted_documents,
    host_of,
    listen,
    quiet_protocol,
    speaks_protocol,
    token_of,
)
from sharedllm_cli.cli.options import EVERYTHING, SERVED, argument, option, with_settings
from sharedllm_cli.cli.preflight import refuse_unwritable
from sharedllm_cli.cli.terminal.tables import number_of
from sharedllm_cli.errors import UsageError

SERVER = "Server"
PORT = 8766
MISSING = "the Model Context Protocol needs a library that is not installed"
HINT = "pip install 'sharedllm-cli[mcp]'"

Documents = Annotated[
    list[str] | None,
    argument(
        "[DOC...]", "Files, folders, globs or @collections that may be asked about; without any, all indexed documents."
    ),
]


@with_settings(*(name for name in EVERYTHING if name not in SERVED.names), json=False)
def mcp(
    call: Call,
    documents: Documents = None,
    http: Annotated[
        bool, option("--http", "Listen on a port (Streamable HTTP) instead of standard input and output.", SERVER)
    ] = False,
    port: Annotated[
        int | None,
        option("--port N", f"Port to listen on, {PORT} by default; 0: a free one.", SERVER, min=0, max=65535),
    ] = None,
    host: Annotated[
        str, option("--host ADDRESS", "Address to listen on; any but this machine's own needs a token.", SERVER)
    ] = "127.0.0.1",
    token_file: Annotated[
        Path | None, option("--token-file FILE", "A file with what callers have to know.", SERVER)
    ] = None,
    write: Annotated[bool, option("--write", "Offer the tools that store and delete indexes, too.", SERVER)] = False,
) -> int:
    """Serve documents to the model of another program, by the Model Context Protocol.

    A program starts it and uses it over standard input and output, or finds it on a port with --http. It reads
    nothing but the documents named here. docs/agents.md has the settings of common programs.
    """
    if not http and (port is not None or token_file is not None or host != "127.0.0.1"):
        raise UsageError("--port, --host and --token-file are for --http")
    if not speaks_protocol():
        raise UsageError(MISSING, hint=HINT)
    secret = token_of(None, token_file)
    refuse_unwritable(call)
    granted = granted_documents(call, documents or [], needed=False)
    served = host_of(call)
    quiet_protocol(verbose=call.console.verbose)
    from sharedllm_cli.serving.mcp.server import make_server

    server = make_server(served, granted, write=write)
    ended = Ended()
    if not http:
        return _over_streams(call, server, served, ended, number_of(len(granted.documents()), "document"))
    from sharedllm_cli.serving.guard import is_loopback
    from sharedllm_cli.serving.mcp.transports import PATH, run_http

    if not is_loopback(host) and secret is None:
        raise UsageError(f"{host} can be reached from other machines: that needs a token", hint="--token-file FILE")
    listener = listen(host, PORT if port is None else port)
    named = f"[{host}]" if ":" in host else host
    with ended.by_signals(), listener:
        call.console.line(f"http://{named}:{listener.getsockname()[1]}{PATH}")
        call.console.say(f"serving {number_of(len(granted.documents()), 'document')}; Ctrl-C ends", style="dim")
        run_http(server, served, listener, ended.events, token=secret, hosts=() if is_loopback(host) else None)
    return ended.code


def _over_streams(call: Call, server: Any, served: Any, ended: Ended, documents: str) -> int:
    from sharedllm_cli.serving.mcp.transports import run_stdio

    if sys.stdin is not None and sys.stdin.isatty():
        call.console.note("a program is expected on standard input; see docs/agents.md, or end it with Ctrl-C")
    call.console.say(f"serving {documents}", style="dim")
    with ended.by_signals():
        run_stdio(server, served, ended.events, lambda: os._exit(ended.code))
    return 0
