"""`sharedllm serve`: one process that keeps model and documents, for the shell, for programs and for people."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from sharedllm_cli.cli.options import EVERYTHING, OUTPUT, SERVED, argument, option, with_settings
from sharedllm_cli.cli.preflight import refuse_unwritable
from sharedllm_cli.cli.terminal.tables import duration, number_of, show_table
from sharedllm_cli.cli.warm import running, seconds_of, stop_all
from sharedllm_cli.errors import UsageError

if TYPE_CHECKING:
    from sharedllm_cli.serving.granted import Granted
    from sharedllm_cli.serving.host import Host

SERVER = "Server"
PORT = 8765

Documents = Annotated[
    list[str] | None,
    argument(
        "[DOC...]", "Files, folders, globs or @collections that may be asked about; without any, all indexed documents."
    ),
]


@with_settings(*(name for name in EVERYTHING if name not in SERVED.names))
def serve(
    call: Call,
    documents: Documents = None,
    port: Annotated[int, option("--port N", "Port to listen on; 0: a free one.", SERVER, min=0, max=65535)] = PORT,
    host: Annotated[
        str, option("--host ADDRESS", "Address to listen on; any but this machine's own needs a token.", SERVER)
    ] = "127.0.0.1",
    token: Annotated[
        str | None, option("--token TEXT", "What callers have to know. Other users may see it in `ps`.", SERVER)
    ] = None,
    token_file: Annotated[Path | None, option("--token-file FILE", "The same, from a file.", SERVER)] = None,
    shell_only: Annotated[
        bool, option("--shell-only", "Serve `ask` and `chat` of this user alone; listen on no port.", SERVER)
    ] = False,
    idle: Annotated[
        str | None,
        option("--idle TIME", "End when nobody has asked for so long (10m); load with the first question.", SERVER),
    ] = None,
    status: Annotated[bool, option("--status", "Show the running processes of this user.", OUTPUT)] = False,
    stop: Annotated[bool, option("--stop", "End the running processes of this user.", OUTPUT)] = False,
) -> int:
    """Keep the model and the documents loaded: `ask` and `chat` answer at once, and programs can ask over HTTP.

    It listens on this machine alone unless --host and a token say otherwise, and reads nothing but the documents named
    here. Ctrl-C ends it.
    """
    if status or stop:
        return _show(call, stop=stop)
    seconds = None if idle is None else seconds_of(idle, "--idle")
    secret = token_of(token, token_file)
    if not shell_only:
        from sharedllm_cli.serving.guard import is_loopback
        from sharedllm_cli.serving.http import require_libraries

        require_libraries()
        if not is_loopback(host) and secret is None:
            raise UsageError(
                f"{host} can be reached from other machines: that needs a token",
                hint="--token-file FILE",
            )
    refuse_unwritable(call)
    granted = None if shell_only else granted_documents(call, documents or [])
    served = host_of(call)
    if shell_only and documents:
        call.console.note("documents are not needed with --shell-only: `ask` and `chat` name their own")
    with ExitStack() as stack:
        ended = Ended()
        stack.enter_context(ended.by_signals())
        stack.callback(served.close)
        listener = None if granted is None else listen(host, port)
        if listener is not None:
            stack.callback(listener.close)
        _serve_shell(stack, call, served, ended, seconds, required=shell_only)
        if seconds is None:
            with call.console.waiting("loading the model"):
                ended.wait_for(served.run(served.using(lambda _: None, reporter=call.console), seconds=None))
        if ended.events.is_set():
            call.console.interrupted()
        elif listener is None or granted is None:
            call.console.say("serving `ask` and `chat` of this user", style="dim")
            ended.wait()
        else:
            _serve_http(call, served, granted, listener, host, secret, ended)
    return ended.code


def _serve_shell(
    stack: ExitStack, call: Call, served: Host, ended: Ended, seconds: float | None, *, required: bool
) -> None:
    """Listen for this user's `ask` and `chat`, where the system can; another process that does so already may go on."""
    from sharedllm_cli.serving.shell_server import ShellServer
    from sharedllm_cli.serving.sockets import bound, has_sockets, socket_path

    if not has_sockets():
        if required:
            raise UsageError("this system has no Unix sockets, which --shell-only needs")
        return
    try:
        listener = stack.enter_context(bound(socket_path(call.settings, call.home)))
    except UsageError as problem:
        if required:
            raise
        call.console.note(f"`ask` and `chat` go elsewhere: {problem.message}")
        return
    ShellServer(served, listener, stopped=ended.set, idle_seconds=seconds).start()


def _serve_http(
    call: Call, served: Host, granted: Granted, listener: Any, host: str, token: str | None, ended: Ended
) -> None:
    from sharedllm_cli.serving.guard import is_loopback
    from sharedllm_cli.serving.http import make_app, run_app
    from sharedllm_cli.serving.page_routes import MORE_BYTES, Page
    from sharedllm_cli.serving.uploads import Uploads

    name = f"[{host}]" if ":" in host else host
    served.address = f"http://{name}:{listener.getsockname()[1]}/"
    # By which names other machines call this one is not known here: the token stands in for them.
    uploads = Uploads()
    routes, lifespans = _protocol(call, served, granted)
    app = make_app(
        served,
        granted,
        token=token,
        hosts=() if is_loopback(host) else None,
        more_routes=[*Page(served, granted, uploads).routes(), *routes],
        more_bytes=MORE_BYTES,
        more_lifespans=lifespans,
    )
    if call.json:
        call.console.json({"address": served.address, "documents": [one.name for one in granted.documents()]})
    else:
        call.console.line(served.address)
        call.console.say(f"serving {number_of(len(granted.documents()), 'document')}; Ctrl-C ends", style="dim")
    try:
        run_app(app, listener, ended.events)
    finally:
        uploads.close()


def _protocol(call: Call, served: Host, granted: Granted) -> tuple[list[Any], list[Any]]:
    """The Model Context Protocol at /mcp, read-only, where its library is installed: routes, and what they run in."""
    if not speaks_protocol():
        return [], []
    quiet_protocol(verbose=call.console.verbose)
    from sharedllm_cli.serving.mcp.server import make_server
    from sharedllm_cli.serving.mcp.transports import mounted

    route, lifespan = mounted(make_server(served, granted))
    return [route], [lifespan]


def _show(call: Call, *, stop: bool) -> int:
    found = stop_all(call) if stop else running(call)
    if call.json:
        call.console.json({"stopped" if stop else "running": found})
        return 0
    if not found:
        call.console.note("no process is running")
        return 0
    if stop:
        for process in found:
            call.console.line(f"stopped {process['model']} (process {process['pid']})")
        return 0
    rows = [
        (
            str(process["pid"]),
            process["model"],
            duration(time.time() - process["started"]),
            f"{process['done']:,}",
            "working" if process["idle_s"] is None else duration(process["idle_s"]),
            process["address"] or "–",
        )
        for process in found
    ]
    show_table(
        call.console, ("Process", "Model", "Runs", "Done", "Idle", "Address"), rows, right="Process,Done", spare="Done"
    )
    return 0
