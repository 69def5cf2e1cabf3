"""`sharedllm indexes`: what has been read and stored on disk."""

from __future__ import annotations

import typer

from sharedllm_cli.cli.help import Group

app = typer.Typer(help="Manage the indexes on disk.", cls=Group)
