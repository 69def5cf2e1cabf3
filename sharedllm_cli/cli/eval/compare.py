"""`sharedllm eval compare`: two arms, adapters or settings over the questions that both answered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sharedllm_cli.cli.options import with_settings
from sharedllm_cli.cli.session import Call
from sharedllm_cli.cli.terminal.tables import show_table

_SIDES = "What is compared"
_ROWS = (
    ("f1", "F1"),
    ("em", "EM"),
    ("rouge_l", "ROUGE-L"),
    ("answer_nll", "NLL"),
    ("refused", "Refused"),
    ("unanswerable_refused", "Unanswerable refused"),
    ("recall_at_1", "R@1"),
    ("recall_at_8", "R@8"),
)


@with_settings()
def compare(
    call: Call,
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN…",
            help="Folders that `eval qa --out` or `eval retrieval --out` wrote; their questions are put together.",
        ),
    ],
    against: Annotated[
        list[Path] | None,
        typer.Option(
            "--against",
            metavar="RUN",
            help="Folders of the other side; can be given several times. The same runs unless said.",
            show_default=False,
            rich_help_panel=_SIDES,
        ),
    ] = None,
    arm: Annotated[
        str | None,
        typer.Option(
            "--arm",
            metavar="ARM",
            help="The arm of the runs, or the policy: sharedllm, or hybrid, unless said.",
            show_default=False,
            rich_help_panel=_SIDES,
        ),
    ] = None,
    against_arm: Annotated[
        str | None,
        typer.Option(
            "--against-arm",
            metavar="ARM",
            help="The arm of the other side: that of --arm, or bm25 where the runs are the same.",
            show_default=False,
            rich_help_panel=_SIDES,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Seed of the intervals.", rich_help_panel=_SIDES, min=0)
    ] = 0,
) -> None:
    """Compare finished runs of `eval qa` or `eval retrieval`, question by question, with paired 95 % intervals.

    Two adapters, two settings, or two arms that were asked in different runs. Nothing is loaded or answered.
    """
    from sharedllm_cli.lab.evaluation.comparing import RETRIEVAL, Side, kind_of
    from sharedllm_cli.lab.evaluation.comparing import compare as made

    arm = arm or ("hybrid" if kind_of(runs[0]) == RETRIEVAL else "sharedllm")
    other_arm = against_arm or (arm if against else "bm25")
    found = made(Side(tuple(runs), arm), Side(tuple(against or runs), other_arm), seed=seed)
    if call.json:
        call.console.json(found)
        return
    for path, (one, other) in found["configured"].items():
        call.console.note(f"{path}: {one} against {other}")
    if any(found["not_compared"]):
        left, right = found["not_compared"]
        call.console.note(f"not compared, as the other side or the window lacks them: {left} and {right} questions")
    for run in found["unfinished"]:
        call.console.note(f"{run} is not finished: what it has answered is compared")
    parts = found.get("files", {})
    for name, part in [("all" if parts else "", found), *parts.items()]:
        lost = f" and {part['n_unanswerable']} unanswerable" if part.get("n_unanswerable") else ""
        headings = (name, found["arm"], f"against {found['against']}", f"Difference, {part['n']} questions{lost}")
        rows = [(label, *_cells(part[metric])) for metric, label in _ROWS if part.get(metric)]
        show_table(call.console, headings, rows)


def _cells(of: dict[str, Any]) -> tuple[str, str, str]:
    low, high = of["difference"]["interval"]
    return (
        f"{of['arm']['mean']:.3f}",
        f"{of['against']['mean']:.3f}",
        f"{of['difference']['mean']:+.3f} ({low:+.3f} to {high:+.3f})",
    )
