#!/usr/bin/env bash
# mcp 2.3.0: a low-level server lists the input schema of a tool and calls the tool with arguments that break it.
#
# Expected: as in 1.30.0, whose low-level server holds arguments against the schema and answers with an error result.
# Seen:     2.3.0 passes on an unknown name, text for an integer, and nothing at all for a required argument. The same
#           handler of 1.30.0 is not called.
# Harm:     a handler that was written for 1.x and relies on its schema meets missing keys and foreign types. No error
#           says that the schema is for show.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

cat > "$folder/schema.py" << 'PYTHON'
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
CALLS = ({"n": 4}, {"n": "seven", "m": 1}, {})
PYTHON

cat > "$folder/two.py" << 'PYTHON'
from importlib.metadata import version

import anyio
import mcp.types as types
from mcp import Client
from mcp.server.lowlevel import Server
from schema import CALLS, SCHEMA


async def list_tools(context, params):
    return types.ListToolsResult(tools=[types.Tool(name="half", input_schema=SCHEMA)])


async def call_tool(context, params):
    return types.CallToolResult(content=[types.TextContent(text="called")])


async def main():
    async with Client(Server("test", on_list_tools=list_tools, on_call_tool=call_tool)) as client:
        await client.list_tools()
        for arguments in CALLS:
            result = await client.call_tool("half", arguments)
            print(f"mcp {version('mcp')}: {arguments} is {'refused' if result.is_error else result.content[0].text}")


anyio.run(main)
PYTHON

cat > "$folder/one.py" << 'PYTHON'
from importlib.metadata import version

import anyio
import mcp.types as types
from mcp.server.lowlevel import Server
from mcp.shared.memory import create_connected_server_and_client_session
from schema import CALLS, SCHEMA

server = Server("test")


@server.list_tools()
async def list_tools():
    return [types.Tool(name="half", inputSchema=SCHEMA)]


@server.call_tool()
async def call_tool(name, arguments):
    return [types.TextContent(type="text", text="called")]


async def main():
    async with create_connected_server_and_client_session(server) as client:
        for arguments in CALLS:
            result = await client.call_tool("half", arguments)
            print(f"mcp {version('mcp')}: {arguments} is {'refused' if result.isError else result.content[0].text}")


anyio.run(main)
PYTHON

for pair in one:1.30.0 two:2.3.0; do
    python3 -m venv "$folder/${pair%:*}"
    "$folder/${pair%:*}/bin/pip" install -qq "mcp==${pair#*:}"
    (cd "$folder" && "${pair%:*}/bin/python" "${pair%:*}.py") | tee -a "$folder/seen"
done
grep -qF "mcp 1.30.0: {'n': 'seven', 'm': 1} is refused" "$folder/seen"
grep -qF "mcp 1.30.0: {} is refused" "$folder/seen"
grep -qF "mcp 2.3.0: {'n': 4} is called" "$folder/seen"
grep -qF "mcp 2.3.0: {'n': 'seven', 'm': 1} is called" "$folder/seen"
grep -qF "mcp 2.3.0: {} is called" "$folder/seen"
