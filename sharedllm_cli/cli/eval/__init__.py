"""`sharedllm eval`: its commands."""

import typer

from sharedllm_cli.cli.eval import questions, texts
from sharedllm_cli.cli.help import Command, Group

app = typer.Typer(
    help="Measure retrieval and answers on data with known answers, and how well text is predicted.", cls=Group
)
for function in (questions.retrieval, questions.qa, texts.needle, texts.ppl, questions.compare):
    app.command(cls=Command)(function)
