"""What `bench.gpu` found, as tables in Markdown: to be read on a terminal or put into docs/results.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def tables(result: dict[str, Any]) -> str:
    """All parts of a result, in its order; a part that failed is a line that says why."""
    lines: list[str] = []
    for name, part in result["parts"].items():
        found = part["found"] or {}
        verdict = "failed" if part["failure"] or not found.get("passed", True) else "passed"
        lines += [f"## {name}: {verdict}, {part['seconds']:.0f} s", ""]
        if part["failure"]:
            lines += [part["failure"], ""]
        elif "lengths" in found:
            lines += _timed(found)
        elif name == "machine":
            lines += _machine(found)
        elif name == "memory":
            lines += _memory(found)
        else:
            lines += _findings(found["rows"])
    return "\n".join([*lines, *_targets(result["parts"])])


def _targets(parts: dict[str, Any]) -> list[str]:
    """What is aimed at, beside what was found; nothing where no shape was timed."""
    timed = [part["found"] for part in parts.values() if part["found"] and "lengths" in part["found"]]
    if not timed:
        return []
    ratios = [(row, of) for found in timed for row in _arms(found) for of in row[2].get("against", {}).items()]
    lowest = min((of["share"] for _, (_, of) in ratios), default=None)
    rows = [("share of the ratio that operations predict, lowest", "80%", "–" if lowest is None else f"{lowest:.0%}")]
    for other, wanted in (("streaming", "2× (goal 4×)"), ("encoder-decoder", "3× (goal 6×)")):
        found = [
            f"{of['measured']:.2f}× ({name})"
            for (length, arm, _), (name, of) in ratios
            if length == "131,072" and arm == "sharedllm M=4" and name.startswith(other)
        ]
        rows.append((f"M = 4 at 128K tokens, cold, against {other}", wanted, ", ".join(found) or "–"))
    beside = [row["bytes"] - row["own_bytes"] for found in timed for row in found.get("asking", [])]
    most = f"{max(beside) / 1e6:,.0f} MB" if beside else "–"
    rows.append(("asking, beside model and all keys and values it reads, most", "200 MB", most))
    return ["## targets", "", *markdown(("", "wanted", "found"), rows)]


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return [_line(headings), _line(["---"] * len(headings)), *(_line(row) for row in rows), ""]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |"


def _findings(rows: Sequence[dict[str, Any]]) -> list[str]:
    headings = ("check", "error", "bound", "", "")
    shown = (
        (row["name"], f"{row['error']:.1e}", f"{row['bound']:.0e}", "ok" if row["passed"] else "WRONG", row["note"])
        for row in rows
    )
    return markdown(headings, shown)


def _machine(found: dict[str, Any]) -> list[str]:
    memory = _gigabytes(found["memory_bytes"])
    return [
        f"{found['name']}, {memory}; torch {found['torch']}, CUDA {found['cuda']}; {found['dtype']} products at"
        f" {found['operations_per_s'] / 1e12:,.1f} TFLOP/s, copies at {found['bytes_per_s'] / 1e9:,.0f} GB/s.",
        "",
    ]


def _memory(found: dict[str, Any]) -> list[str]:
    rows = ((f"{row['tokens']:,}", f"{row['seconds']:.1f} s", _gigabytes(row["peak_bytes"])) for row in found["rows"])
    growth = found["growth_bytes"]
    grown = "not measured on a processor" if growth is None else f"{growth / 1e6:,.1f} MB"
    return [
        *markdown(("tokens", "all levels encoded in", "peak"), rows),
        f"Model {_gigabytes(found['model_bytes'])}; growth {grown}.",
        "",
    ]


def _timed(found: dict[str, Any]) -> list[str]:
    model = found["model"]
    lines = [
        f"{model['name']}, {model['dtype']}, quantize {model['quantize']}, {_gigabytes(model['memory_bytes'])}.",
        "",
    ]
    headings = ("tokens", "arm", "cold", "spread", "of floor", "indexed", "tokens/s", "of floor", "peak", "index built")
    lines += markdown(headings, (_arm(*row) for row in _arms(found)))
    ratio_headings = ("tokens", "arm", "against", "measured", "predicted", "share")
    compared = (
        (length, arm, other, f"{of['measured']:.2f}×", f"{of['predicted']:.2f}×", f"{of['share']:.0%}")
        for length, arm, told in _arms(found)
        for other, of in told.get("against", {}).items()
    )
    lines += markdown(ratio_headings, compared)
    asking = (
        (
            f"{row['tokens']:,}",
            row["arm"],
            *(f"{row[name] / 1e6:,.0f} MB" for name in ("bytes", "own_bytes")),
            "yes" if row["within"] else "no",
        )
        for row in found.get("asking", [])
    )
    columns = (
        "tokens",
        "arm",
        "asking beside model and selected keys",
        "of it the running text's",
        "rest within 200 MB",
    )
    lines += markdown(columns, asking)
    lines += _decoding(found["decoding"]) if found.get("decoding") else []
    return lines + (_findings(found["products"]["rows"]) if found.get("products") else [])


def _decoding(found: dict[str, Any]) -> list[str]:
    recorded = f"recorded in {found['recording_s']:.2f} s" if found["recorded"] else found["why_not"]
    if found["fixed_tokens_per_s"] is None:
        return [f"A step of decoding without a tree: {found['tokens_per_s']:.1f} tokens/s; {recorded}.", ""]
    tokens = "the same tokens" if found["agree"] else "other tokens"
    return [
        f"A step of decoding without a tree: {found['tokens_per_s']:.1f} tokens/s; at fixed addresses"
        f" {found['fixed_tokens_per_s']:.1f} ({recorded}; {tokens}).",
        "",
    ]


def _arms(found: dict[str, Any]) -> Iterable[tuple[str, str, dict[str, Any]]]:
    for length, of in found["lengths"].items():
        for arm, told in of["arms"].items():
            yield f"{int(length):,}", arm, told


def _arm(length: str, arm: str, told: dict[str, Any]) -> tuple[str, ...]:
    if "left_out" in told:
        return (length, arm, told["left_out"], *["–"] * 7)
    cold, token, indexed, index = told["cold"], told["token"], told.get("indexed"), told.get("index")
    return (
        length,
        arm,
        f"{cold['seconds']:.3f} s",
        f"{cold['spread']:.0%}",
        f"{cold['share_of_floor']:.0%}",
        f"{indexed['seconds']:.3f} s" if indexed else "–",
        f"{token['tokens_per_s']:.1f}",
        f"{token['share_of_floor']:.0%}",
        _gigabytes(cold["peak_bytes"]),
        f"{index['seconds']:.2f} s" if index else "–",
    )


def _gigabytes(number: float | None) -> str:
    return "–" if number is None else f"{number / 1e9:,.2f} GB"
