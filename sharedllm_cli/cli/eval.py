"""`sharedllm eval`: the group of its commands, each in a file of its own (`eval_<name>.py`)."""

from __future__ import annotations

import typer

from sharedllm_cli.cli import eval_compare, eval_needle, eval_ppl, eval_qa, eval_retrieval
from sharedllm_cli.cli.help import Command, Group

app = typer.Typer(
    help="Measure retrieval and answers on data with known answers, and how well text is predicted.", cls=Group
)
for _name, _function in (
    ("retrieval", eval_retrieval.retrieval),
    ("qa", eval_qa.qa),
    ("needle", eval_needle.needle),
    ("ppl", eval_ppl.ppl),
    ("compare", eval_compare.compare),
):
    app.command(_name, cls=Command)(_function)
