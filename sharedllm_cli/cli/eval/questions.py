"""`sharedllm eval qa`, `retrieval` and `compare`: measures on questions with known answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from sharedllm_cli.cli.call import Call, calm_libraries
from sharedllm_cli.cli.eval.options import (
    ANSWER_SETTINGS,
    DATA,
    MODEL_SETTINGS,
    OUT_HELP,
    Arms,
    DataFiles,
    Joins,
    Lasts,
    Limit,
    NoAdapter,
    NoTitles,
    Resume,
    Seed,
    SkipBadLines,
    Trees,
    data_files,
    measured,
    per_file,
    share,
)
from sharedllm_cli.cli.options import TREE, argument, names, option, with_settings
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


@with_settings(*MODEL_SETTINGS, *ANSWER_SETTINGS, *TREE.names)
def qa(
    call: Call,
    data: DataFiles,
    out: Annotated[Path, option("--out FOLDER", OUT_HELP, "Run")],
    arms: Arms = "closed,truncate,bm25,tree,tree-wrong,sharedllm,full",
    no_adapter: NoAdapter = False,
    limit: Limit = 200,
    seed: Seed = 0,
    join: Joins = "1",
    last: Lasts = None,
    no_titles: NoTitles = False,
    misplaced: Annotated[
        int, option("--misplaced N", "Add N questions, each asked of a document that does not answer it.", DATA, min=0)
    ] = 0,
    skip_bad_lines: SkipBadLines = False,
    trees: Trees = None,
    resume: Resume = False,
) -> None:
    """Measure answers by what the model could read: each arm reads the document in another way, all else is the same.

    An arm that can't be measured (a tree that no gate reads) is left out with a warning. Answers are greedy.
    """
    calm_libraries(verbose=call.console.verbose)
    from sharedllm_cli.lab.evaluation.answers import Request
    from sharedllm_cli.lab.evaluation.answers import answers as measure

    request = Request(
        data_files(data),
        out,
        arms=names(arms),
        limit=limit,
        seed=seed,
        joins=per_file("--join", join),
        lasts=tuple(one or None for one in per_file("--last", last)),
        titles=not no_titles,
        misplaced=misplaced,
        adapter=not no_adapter,
        trees=trees,
        resume=resume,
        skip_bad_lines=skip_bad_lines,
    )
    found = measured(call, measure, request)
    if call.json:
        return
    headings = ("Arm", "Questions", "F1", "EM", "ROUGE-L", "NLL", "First token", "Refused", "Unanswerable refused")
    show_table(call.console, headings, [_arm_row(*of) for of in found["arms"].items()], right="Questions,First token")
    _show_routes(call, found)
    call.console.say(f"\n{out}: predictions, metrics, configuration, and the differences between arms", style="dim")


def _show_routes(call: Call, found: dict[str, Any]) -> None:
    """Every arm over the questions that `ask` answers by the same route, where there are several routes."""
    if len(found["routes"]) < 2:
        return
    call.console.say("")
    headings = ("Route", "Arm", "Questions", "F1", "EM", "Holds the answer", "Refused", "Unanswerable refused")
    lines = [_route_row(route, *arm) for route, of in found["routes"].items() for arm in of["arms"].items()]
    show_table(call.console, headings, lines, right="Questions")


def _route_row(route: str, arm: str, of: dict[str, Any]) -> tuple[str, ...]:
    measured = (share(of, metric) for metric in ("f1", "em", "holds"))
    return (route, arm, str(of["n"]), *measured, _percent(of["refused"]), _percent(of["unanswerable"]["refused"]))


def _arm_row(name: str, of: dict[str, Any]) -> tuple[str, ...]:
    if "left_out" in of:
        return (name, "0", *["–"] * 7)
    seconds = "–" if of["first_token_s"] is None else f"{of['first_token_s']:.2f} s"
    measured = (share(of, metric) for metric in ("f1", "em", "rouge_l", "answer_nll"))
    return (name, str(of["n"]), *measured, seconds, _percent(of["refused"]), _percent(of["unanswerable"]["refused"]))


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


@with_settings(
    "model", "adapter", "device", "quantize", "dtype", "offline", "preset", "chunk_tokens", "tree_height", "ratios"
)
def retrieval(
    call: Call,
    data: DataFiles,
    policies: Annotated[
        str, option("--policies P,P,…", "Policies: hybrid, bm25, late, paper-cosine, right.")
    ] = "hybrid,bm25",
    limit: Limit = 200,
    seed: Seed = 0,
    join: Joins = "1",
    last: Lasts = None,
    no_titles: NoTitles = False,
    skip_bad_lines: SkipBadLines = False,
    out: Annotated[Path | None, option("--out FOLDER", OUT_HELP, "Run")] = None,
    resume: Resume = False,
) -> None:
    """Measure how often a policy ranks the leaf that holds the answer's words first, or among the best eight.

    It asks questions whose answer occurs exactly once in its document, or that name their evidence. No index is
    written.
    """
    calm_libraries(verbose=call.console.verbose)
    from sharedllm_cli.lab.evaluation.leaf_recall import Request
    from sharedllm_cli.lab.evaluation.leaf_recall import retrieval as measure

    request = Request(
        data_files(data),
        policies=names(policies),
        limit=limit,
        seed=seed,
        joins=per_file("--join", join),
        lasts=tuple(one or None for one in per_file("--last", last)),
        titles=not no_titles,
        out=out,
        resume=resume,
        skip_bad_lines=skip_bad_lines,
    )
    found = measured(call, measure, request)
    if call.json:
        return
    rows = [
        (name, str(of["n"]), share(of, "recall_at_1"), share(of, "recall_at_8"))
        for name, of in found["policies"].items()
    ]
    show_table(call.console, ("Policy", "Questions", "R@1", "R@8"), rows, right="Questions")


@with_settings()
def compare(
    call: Call,
    runs: Annotated[
        list[Path],
        argument(
            "RUN…",
            "Folders that `eval qa --out` or `eval retrieval --out` wrote; their questions are put together.",
            show_default=True,
        ),
    ],
    against: Annotated[
        list[Path] | None,
        option("--against RUN", "Folders of the other side; may be repeated. The same runs unless said.", _SIDES),
    ] = None,
    arm: Annotated[
        str | None, option("--arm ARM", "Arm of the runs, or policy; by default sharedllm, or hybrid.", _SIDES)
    ] = None,
    against_arm: Annotated[
        str | None,
        option(
            "--against-arm ARM",
            "The arm of the other side: that of --arm, or bm25 where the runs are the same.",
            _SIDES,
        ),
    ] = None,
    seed: Annotated[int, option("--seed N", "Seed of the intervals.", _SIDES, min=0)] = 0,
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
        call.console.note(f"{run} is not finished: only its answers so far are compared")
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
