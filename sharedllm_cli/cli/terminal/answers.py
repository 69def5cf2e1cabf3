"""How an answer is shown: its text as it comes, then its sources, then what it took."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sharedllm_cli.answer import FILE_METADATA, Answer, AnswerSentence, Source, checked_words, page_words
from sharedllm_cli.cli.terminal.console import Console, harmless, one_line
from sharedllm_cli.cli.terminal.tables import duration, number_of, page_list
from sharedllm_cli.config import MAX_SOURCES

if TYPE_CHECKING:
    from rich.text import Text


INDENT = "     "

FEW_WORDS = 24
"""Words of a source that has one line; a terminal shows as many of them as have room."""
FIRST_SOURCES = 3
"""Sources shown below an answer at a terminal, so that the answer stays in sight; the rest is offered."""
WORDS = 45
"""Words of a quote shown on the screen, in whole sentences; --sources, `/sources` and --json have all of them."""
STEM = 5
"""Two words are held for forms of one word where their first letters agree so far."""
SHORTEST = 4
"""Shorter words (of, the, is) say nothing about what was asked, unless they are numbers."""
HEADING = 6
"""A piece of at most so many words that ends no sentence is a heading: it is shown only where nothing else is."""


def receive(
    console: Console,
    pieces: Iterator[str | AnswerSentence | Answer],
    *,
    show: bool,
    stream: bool,
    marks: bool = False,
) -> Answer:
    """Take an answer from the engine, showing its text on standard output; closes the engine's generator.

    `stream` shows each piece as it comes, otherwise the text is shown whole at the end; `show=False` shows nothing.
    `marks` shows behind each of several sentences the numbers of its sources.
    """
    written = text = ""
    try:
        with console.waiting("reading and thinking"):
            piece = next(pieces, None)
        while piece is not None and not isinstance(piece, Answer):
            shown = piece if isinstance(piece, str) else f" {piece.mark}" if marks and piece.mark else ""
            text += shown
            if show and stream:
                written = shown or written
                console.write(shown)
            piece = next(pieces, None)
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()
        if written and not written.endswith("\n"):
            console.write("\n")
    if piece is None:
        raise RuntimeError("the engine ended without an answer")
    if show and not written and (whole := text.strip() or piece.answer):
        console.write(whole.rstrip("\n") + "\n")
    return piece


def explain(
    console: Console,
    answer: Answer,
    *,
    sources: bool,
    several: bool,
    whole: bool = False,
    at_most: int = MAX_SOURCES,
    more: str = "/sources",
) -> None:
    """Below the answer, on standard error: why there is none, the sources, what was read and how fast.

    `more` says how to see the sources beyond `at_most`.
    """
    if set(answer.warnings) - console.warned or not answer.answered:
        console.say("")
    console.warn_all(answer.warnings)
    if not answer.answered:
        console.note(answer.reason or "the document doesn't hold the answer")
    if console.quiet:
        return
    if sources:
        show_sources(console, answer, several=several, whole=whole, at_most=at_most, more=more)
    console.say("")
    console.say(" · ".join(effort(answer)), style="dim")


COUNTED = "tally"
"""The route of an answer that code has counted (`answering/routing.py`)."""


def effort(answer: Answer) -> list[str]:
    """The parts of the closing line: what was read, how fast, by which model."""
    coverage, timing = answer.coverage, answer.timing
    parts = [f"{coverage.tokens_read:,} of {coverage.tokens:,} tokens read"]
    if answer.route == COUNTED:
        parts = [f"counted by code in all {coverage.tokens:,} tokens"]
    if coverage.pages:
        parts.append(number_of(coverage.pages, "page"))
    if coverage.pages_without_text:
        noun = "page" if coverage.pages else "part"
        parts.append(f"without text: {page_list(coverage.pages_without_text, noun)}")
    parts.append(f"first token {duration(timing.first_token_s)}")
    if timing.tokens_per_s:
        parts.append(f"{timing.tokens_per_s:,.1f} tokens/s")
    return [*parts, f"{one_line(answer.model.base)} on {answer.model.device}"]


def show_sources(
    console: Console,
    answer: Answer,
    *,
    several: bool,
    whole: bool = False,
    at_most: int = MAX_SOURCES,
    more: str = "/sources",
) -> None:
    """The passages that the answer rests on: document, page, heading and the quoted sentences.

    Without an answer they are the closest passages, which may hold it all the same, and are called so. What else was
    found comes last, a line each. `several`: name the document of each; `whole`: quote in full; `at_most`: show so many
    of either at most, where the answer is no list; `more`: how to see the rest.
    """
    from rich.text import Text

    from sharedllm_cli.cli.terminal.screen import Hanging

    main, beside = _grouped(answer)
    marked = max((number for sentence in answer.sentences for number in sentence.sources), default=0)
    most = len(main) if answer.matches else max(at_most, marked)
    shown = 0
    for title, sources in ((_title(answer), main[:most]), ("Also found", beside[:at_most])):
        if sources:
            console.say("")
            console.say(Text(title, style="bold"))
        for number, source in enumerate(sources, shown + 1):
            place = Text.assemble(*place_text(source, several=several))
            count = Text.assemble((f"{number:3}  ", "bold cyan"))  # a style of its own would go on into the place
            if title != "Also found" or whole:
                console.say(Hanging(place, count))
                if source.columns:
                    console.say(Hanging(Text(f"columns: {harmless(source.columns)}", style="dim"), Text(INDENT)))
                console.say(Hanging(_quote(source, answer, whole=whole), Text(INDENT)))
            else:
                console.say(_one_line(count.append_text(place), source, answer, console.width()))
        shown += len(sources)
    left = len(main[most:]) + len(beside[at_most:])
    if left:
        console.say(f"{INDENT}{left} more: {more}", style="dim")


def _grouped(answer: Answer) -> tuple[list[Source], list[Source]]:
    """The sources that an answer rests on (without an answer those that were read), and the others."""
    shown = list(zip(answer.sources, answer.main_sources, strict=True))
    return [source for source, main in shown if main], [source for source, main in shown if not main]


def _one_line(place: Text, source: Source, answer: Answer, width: int) -> Text:
    """A source in one line: its place, and as many words of its best sentence as have room."""
    from rich.text import Text

    shown = excerpt(harmless(source.quote), answer.question, answer.answer, most=FEW_WORDS)
    line = place.append_text(Text(f"  {' '.join(shown.words)}", style="dim"))
    line.truncate(width, overflow="ellipsis")
    return line


def _title(answer: Answer) -> str:
    return "Sources" if answer.answered or answer.matches else "Closest passages"


def _quote(source: Source, answer: Answer, *, whole: bool) -> Text:
    from rich.text import Text

    shown = excerpt(harmless(source.quote), answer.question, answer.answer, whole=whole)
    text = Text("“… " if shown.cut_before else "“")
    for number, (word, wanted) in enumerate(zip(shown.words, shown.wanted, strict=True)):
        text.append(" " if number else "")
        text.append(word, style="bold" if wanted else "")
    return text.append(" …”" if shown.cut_after else "”")


def place_text(source: Source, *, several: bool) -> list[Text | str | tuple[str, str]]:
    """Where a passage stands: document, page, whether its quote was found there, heading."""
    parts: list[Text | str | tuple[str, str]] = []
    if several or not source.paged:
        parts += [(one_line(source.document), "bold"), "  "]
    if source.place == FILE_METADATA:
        return [*parts, ("from the file's metadata", "dim")]
    if source.paged:
        parts += [(page_text(source), "bold"), "  "]
    if source.place:
        parts += [(one_line(source.place), "bold"), "  "]
    parts.append(_held(source))
    if source.heading and source.heading != source.part_title:
        parts += ["  ", (one_line(source.heading), "italic")]
    return parts


def _held(source: Source) -> tuple[str, str]:
    return checked_words(source), "dim" if source.verified else "yellow"


def page_text(source: Source) -> str:
    """A page as printed and as counted, on one line (`page_words`)."""
    return one_line(page_words(source))


@dataclass(frozen=True)
class Excerpt:
    """Words of a quote in order, which of them were asked for, and whether words before or after are left out."""

    words: tuple[str, ...]
    wanted: tuple[bool, ...]
    cut_before: bool = False
    cut_after: bool = False


def excerpt(quote: str, *texts: str, whole: bool = False, most: int = WORDS) -> Excerpt:
    """The whole sentences of a quote around most of the words of `texts` (question, answer); else its first ones.

    They have at most `most` words together; of a longer sentence the `most` words around what is sought are shown.
    """
    from sharedllm_cli.retrieval.boundaries import split_sentences

    sought = stems(" ".join(texts).split())
    sentences = [sentence.split() for sentence in split_sentences(quote)]
    hits = [[bool(stems([word]) & sought) for word in words] for words in sentences]
    lengths = [len(words) for words in sentences]
    if whole or sum(lengths) <= most:
        return _joined(sentences, hits, 0, len(sentences))
    first = _best_sentence(sentences, hits)
    if lengths[first] > most:
        start = _best_start(hits[first], most)
        words, wanted = sentences[first][start : start + most], hits[first][start : start + most]
        before, after = first > 0 or start > 0, first + 1 < len(sentences) or start + most < lengths[first]
        return Excerpt(tuple(words), tuple(wanted), before, after)
    end = first + 1
    while end < len(sentences) and sum(lengths[first : end + 1]) <= most and not _is_heading(sentences[end]):
        end += 1
    while first > 0 and sum(lengths[first - 1 : end]) <= most and not _is_heading(sentences[first - 1]):
        first -= 1
    return _joined(sentences, hits, first, end)


def _joined(sentences: Sequence[list[str]], hits: Sequence[list[bool]], first: int, end: int) -> Excerpt:
    words = tuple(word for sentence in sentences[first:end] for word in sentence)
    wanted = tuple(hit for sentence in hits[first:end] for hit in sentence)
    return Excerpt(words, wanted, first > 0, end < len(sentences))


def _best_sentence(sentences: Sequence[list[str]], hits: Sequence[list[bool]]) -> int:
    """The sentence with the most of what is sought, a heading only where nothing else is; of equals the first."""
    return max(
        range(len(sentences)),
        key=lambda place: (not _is_heading(sentences[place]), sum(hits[place]), -place),
        default=0,
    )


def _is_heading(words: Sequence[str]) -> bool:
    return len(words) <= HEADING and not re.search(r"[.!?…。！？:;,]['\"”’»)\]]*$", words[-1])


def _best_start(wanted: Sequence[bool], most: int) -> int:
    sums = [0]
    for hit in wanted:
        sums.append(sums[-1] + hit)
    hits = [sums[start + most] - sums[start] for start in range(len(wanted) - most + 1)]
    first = last = hits.index(max(hits))
    while last + 1 < len(hits) and hits[last + 1] == hits[first]:
        last += 1
    return (first + last) // 2 if hits[first] else 0


def stems(words: Iterable[str]) -> set[str]:
    """The words that say something, each cut to its stem."""
    bare = (re.sub(r"\W+", "", word).lower() for word in words)
    return {word[:STEM] for word in bare if len(word) >= SHORTEST or any(letter.isdigit() for letter in word)}
