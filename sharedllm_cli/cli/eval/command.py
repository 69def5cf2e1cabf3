"""`sharedllm eval`: the group of its commands, each in a file of its own (`<name>.py`)."""

from __future__ import annotations

import typer

from sharedllm_cli.cli.eval import compare, needle, ppl, qa, retrieval
from sharedllm_cli.cli.help import Command, Group

app = typer.Typer(
    help="Measure retrieval and answers on data with known answers, and how well text is predicted.", cls=Group
)
for _name, _function in (
    ("retrieval", retrieval.retrieval),
    ("qa", qa.qa),
    ("needle", needle.needle),
    ("ppl", ppl.ppl),
    ("compare", compare.compare),
):
    app.command(_name, cls=Command)(_function)
