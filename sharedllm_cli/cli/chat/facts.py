"""What a chat tells of its answers when asked: `/tree`, `/stats`, `/docs`, and what was said so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sharedllm_cli.answer import Answer, Source
from sharedllm_cli.cli.chat.session import SavedDocument, SavedTurn
from sharedllm_cli.cli.terminal.answers import page_text
from sharedllm_cli.cli.terminal.console import Console, one_line
from sharedllm_cli.cli.terminal.tables import duration, number_of, page_list, size

if TYPE_CHECKING:
    from sharedllm_cli.config import Settings
    from sharedllm_cli.engine import Library, OpenDocument

RECALLED = 3
"""So many of the last turns are shown when a conversation is gone on with."""
PLAIN_WIDTH = 100
"""Columns for a line that is cut to one, where there is no terminal to measure."""
Row = tuple[str, str]


def rows(console: Console, pairs: Sequence[Row], *, title: str | None = None) -> None:
    """Names and values, one a line below a title; on a terminal long values go on below themselves."""
    from rich.table import Table
    from rich.text import Text

    if title:
        console.say("")
        console.say(Text(one_line(title), style="bold"))
    column = max((len(one_line(name)) for name, _ in pairs), default=0)
    if not console.err_is_terminal:
        for name, value in pairs:
            console.say(f"  {one_line(name):<{column}}  {one_line(value)}".rstrip())
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(width=0)
    grid.add_column(no_wrap=True, style="cyan")
    grid.add_column(overflow="fold")
    for name, value in pairs:
        grid.add_row("", Text(one_line(name)), Text(one_line(value)))
    console.say(grid)


def remark(console: Console, text: str) -> None:
    """A dim line that goes on, on a narrow terminal, below its beginning."""
    from rich.padding import Padding
    from rich.text import Text

    if console.err_is_terminal:
        console.say(Padding(Text(one_line(text), style="dim"), (0, 0, 0, 2)))
    else:
        console.say(f"  {one_line(text)}")


def show_documents(console: Console, library: Library, absent: Sequence[SavedDocument] = ()) -> None:
    """The open documents by number; after them those of a resumed conversation that are not there."""
    pairs = []
    for number, document in enumerate(library.documents, 1):
        extent = [number_of(document.parts, "part")] if document.parts else []
        extent += [number_of(document.pages, "page")] if document.pages else []
        extent.append(f"{number_of(document.tokens, 'token')} in {number_of(document.chunks, 'chunk')}")
        if silent := list(document.pages_without_text):
            where = f"in {page_list(silent, 'part')}" if document.parts else f"on {page_list(silent)}"
            extent.append(f"no text {where}")
        pairs.append((str(number), f"{document.name}: {', '.join(extent)}"))
    first = len(library.documents) + 1
    pairs += [(str(number), f"{gone.name}: not there ({gone.path})") for number, gone in enumerate(absent, first)]
    if (collection := library.collection) is not None:
        pairs.append(("@", f"{collection.label}: {number_of(collection.documents, 'document')}"))
    rows(console, pairs)


def show_recalled(console: Console, turns: Sequence[SavedTurn]) -> None:
    """The last turns, a line for each question and its answer."""
    from rich.text import Text

    width = console.width() if console.err_is_terminal else PLAIN_WIDTH
    if len(turns) > RECALLED:
        console.say(f"  … {number_of(len(turns) - RECALLED, 'earlier question')}", style="dim")
    for turn in turns[-RECALLED:]:
        console.say(Text(_cut(f"  › {one_line(turn.question)}", width), style="bold"))
        console.say(Text(_cut(f"    {one_line(turn.answer)}", width)))


def _cut(text: str, width: int) -> str:
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"


def show_tree(console: Console, answer: Answer, library: Library, settings: Settings) -> None:
    """What of the context tree the model read for an answer, and where its passages stand in it."""
    tree = answer.tree
    if tree.preserved_nodes:
        pairs = [
            ("read", f"{number_of(tree.preserved_nodes, 'node')}, chosen by {tree.policy}"),
            ("keys", f"{tree.kept_keys:,} for {answer.coverage.tokens_read:,} tokens, {tree.ratio or 0:g} to one"),
            ("trees", "found on disk" if answer.index.trees_hit else f"built in {duration(answer.timing.index_s)}"),
        ]
        counts = [_levels(document) for document in library.documents]
        # With --pages only some chunks are read, and a document may have come or gone since.
        if sum(sum(levels.values()) for levels in counts) == tree.preserved_nodes:
            pairs += [
                (document.name, f"{number_of(document.chunks, 'chunk')}: {_levels_told(levels)}")
                for document, levels in zip(library.documents, counts, strict=True)
            ]
        rows(console, pairs, title="Tree")
    else:
        rows(console, [("not read", why_no_tree(answer, settings))], title="Tree")
    for name in dict.fromkeys(source.document for source in answer.sources):
        own = [source for source in answer.sources if source.document == name]
        own.sort(key=lambda source: (not source.read, source.chunk, source.node))
        rows(console, [_place(source) for source in own], title=f"Passages of {one_line(name)} in its tree")


def why_no_tree(answer: Answer, settings: Settings) -> str:
    """Why no tree was read for an answer, and what would have one read."""
    if not answer.coverage.tokens_read:
        return "none of the question's words occur in the documents, so nothing was read"
    if not answer.model.reads_tree:
        kind = "reads no tree" if answer.model.trained else "is untrained"
        return f"the model's adapter {kind}, so it answered from verbatim passages alone"
    if settings.tree:
        return "it was switched on after this answer: the next one reads it"
    if settings.tree is False:
        return "it is switched off: /set tree on (or --tree) reads it beside the passages"
    return "this adapter answers best from verbatim passages alone: /set tree on (or --tree) reads the tree beside them"


def _levels(document: OpenDocument) -> Counter[int]:
    """How many nodes of each level the search keeps of a document: one a level in each chunk, and two at the last."""
    levels: Counter[int] = Counter()
    for tree in document.leaves.trees:
        levels.update([*range(1, tree.depth + 1), tree.depth])
    return levels


def _levels_told(levels: Counter[int]) -> str:
    return ", ".join(f"{count:,} of level {level}" for level, count in sorted(levels.items()))


def _place(source: Source) -> Row:
    where = f"level {source.level}, node {source.node}" + (f", {page_text(source)}" if source.paged else "")
    return f"chunk {source.chunk}", where + ("" if source.read else ", found but not read")


def show_stats(console: Console, turns: Sequence[SavedTurn]) -> None:
    """What the last answer took, and all answers of the conversation together."""
    results = [turn.result for turn in turns if turn.result is not None]
    if not results:
        console.say("no answer yet: ask a question first")
        return
    rows(console, list(_effort(results[-1])), title="Last answer")
    if len(turns) > 1:
        rows(console, list(_totals(turns, results)), title="This conversation")


def _effort(answer: Answer) -> list[Row]:
    coverage, timing, index = answer.coverage, answer.timing, answer.index
    pages = [number_of(coverage.pages, "page")] if coverage.pages else []
    if coverage.pages_without_text:
        pages.append(f"without text: {page_list(coverage.pages_without_text)}")
    steps = (("trees", timing.index_s), ("search", timing.search_s), ("first token", timing.first_token_s))
    times = [f"{name} {duration(seconds)}" for name, seconds in steps if seconds >= 0.05]
    trees = [f"trees {_hit(index.trees_hit)}"] if answer.tree.preserved_nodes else []
    return [
        ("read", f"{coverage.tokens_read:,} of {number_of(coverage.tokens, 'token')}"),
        ("documents", ", ".join([*pages, number_of(coverage.chunks, "chunk")])),
        ("time", f"{duration(timing.total_s)}" + (f" ({', '.join(times)})" if times else "")),
        ("answer", f"{number_of(timing.new_tokens, 'token')}{_rate(timing.tokens_per_s)}"),
        ("before", f"loading {duration(timing.load_s)}, opening documents {duration(timing.read_s)}"),
        ("index", ", ".join([f"text {_hit(index.text_hit)}", *trees, size(index.bytes)])),
        ("memory", f"{size(answer.peak_bytes)} at most so far"),
        ("model", f"{answer.model.base} on {answer.model.device}"),
    ]


def _totals(turns: Sequence[SavedTurn], results: Sequence[Answer]) -> list[Row]:
    given = sum(answer.answered for answer in results)
    stopped = len(turns) - len(results)
    said = [f"{given:,} answered"]
    if given < len(results):
        said.append(f"{len(results) - given:,} not")
    if stopped:
        said.append(f"{stopped:,} stopped")
    tokens = sum(answer.timing.new_tokens for answer in results)
    read = sum(answer.coverage.tokens_read for answer in results)
    hits = sum(answer.index.text_hit for answer in results)
    pairs = [
        ("questions", f"{len(turns):,}: {', '.join(said)}"),
        ("read", number_of(read, "token")),
        ("answers", number_of(tokens, "token")),
        ("time", duration(sum(answer.timing.total_s for answer in results))),
        ("index", f"text found on disk for {hits:,} of {number_of(len(results), 'answer')}"),
    ]
    if reading := [answer for answer in results if answer.tree.preserved_nodes]:
        found = sum(answer.index.trees_hit for answer in reading)
        pairs.append(("trees", f"found on disk for {found:,} of {number_of(len(reading), 'answer')} that read them"))
    return [*pairs, ("memory", f"{size(max(answer.peak_bytes for answer in results))} at most")]


def _hit(hit: bool) -> str:
    return "found on disk" if hit else "made anew"


def _rate(tokens_per_s: float) -> str:
    return f", {tokens_per_s:,.1f} tokens/s" if tokens_per_s else ""
