#!/usr/bin/env bash
# mcp 2.3.0: the Streamable HTTP application refuses its own name where the Host header has capitals or no port.
#
# Expected: names of hosts have no case (RFC 9110, section 4.2.3), and a Host header without a port means the default
#           one: `LOCALHOST:8000` and `localhost` are the loopback's names as `localhost:8000` is.
# Seen:     2.3.0 answers both with 421 Invalid Host header; its built-in names are `localhost:*`, `127.0.0.1:*` and
#           `[::1]:*`, compared letter by letter, and a port must be there.
# Harm:     a server on port 80, or behind a proxy that passes on `Host: localhost`, can't be reached with the settings
#           that the library makes for the loopback, and the answer names no way out.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

cat > "$folder/hosts.py" << 'PYTHON'
from importlib.metadata import version

import anyio
import httpx2
import mcp.types as types
from mcp.server.lowlevel import Server

BEGIN = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


async def list_tools(context, params):
    return types.ListToolsResult(tools=[])


async def main():
    server = Server("test", on_list_tools=list_tools)
    app = server.streamable_http_app(json_response=True)
    accepted = {"accept": "application/json, text/event-stream"}
    async with server.session_manager.run(), httpx2.AsyncClient(transport=httpx2.ASGITransport(app)) as client:
        for host in ("localhost:8000", "LOCALHOST:8000", "localhost"):
            answer = await client.post("http://localhost:8000/mcp", json=BEGIN, headers={**accepted, "host": host})
            print(f"mcp {version('mcp')}: Host {host} gets {answer.status_code}")


anyio.run(main)
PYTHON

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq "mcp==2.3.0"
"$folder/venv/bin/python" "$folder/hosts.py" 2> /dev/null | tee "$folder/seen"
grep -qF "mcp 2.3.0: Host localhost:8000 gets 200" "$folder/seen"
grep -qF "mcp 2.3.0: Host LOCALHOST:8000 gets 421" "$folder/seen"
grep -qF "mcp 2.3.0: Host localhost gets 421" "$folder/seen"
