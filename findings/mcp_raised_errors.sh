#!/usr/bin/env bash
# mcp 2.3.0: what a low-level server's tool raises reaches one client as its text, another as "Internal server error".
#
# Expected: one server answers one error in one way; in 1.30.0 it was a result with isError and the exception's text.
# Seen:     a client that begins with the handshake gets the protocol error 0 with the exception's text; one that begins
#           as of 2026-07-28 gets the protocol error -32603 without it. Neither is a result.
# Harm:     the client's model never sees what was wrong with its call, and can't try again. Whether the text of an
#           exception, with paths in it, goes out depends on the client's age.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

cat > "$folder/raised.py" << 'PYTHON'
import logging
from importlib.metadata import version

import anyio
import mcp.types as types
from mcp import Client, MCPError
from mcp.server.lowlevel import Server

logging.disable()


async def list_tools(context, params):
    return types.ListToolsResult(tools=[types.Tool(name="half", input_schema={"type": "object"})])


async def call_tool(context, params):
    raise ValueError("one can't be halved")


async def main():
    for mode in ("legacy", "2026-07-28"):
        async with Client(Server("test", on_list_tools=list_tools, on_call_tool=call_tool), mode=mode) as client:
            try:
                result = await client.call_tool("half", {})
                print(f"mcp {version('mcp')}, {mode}: a result, {result.content[0].text}")
            except MCPError as error:
                print(f"mcp {version('mcp')}, {mode}: error {error.error.code}, {error.error.message}")


anyio.run(main)
PYTHON

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq "mcp==2.3.0"
"$folder/venv/bin/python" "$folder/raised.py" | tee "$folder/seen"
grep -qF "mcp 2.3.0, legacy: error 0, one can't be halved" "$folder/seen"
grep -qF "mcp 2.3.0, 2026-07-28: error -32603, Internal server error" "$folder/seen"
