"""An answer as one HTML file that needs nothing else: sentences with their sources, and these as marked pages.

It has no script, and loads nothing: pictures are in it. All that comes from documents and models is escaped by the
template. Knows answers and sights; no engine, no terminal.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from sharedllm_cli import __version__
from sharedllm_cli.answer import Answer, AnswerSentence, Source, checked_words, place_words
from sharedllm_cli.config import Settings
from sharedllm_cli.documents.pdf.page_pictures import Box
from sharedllm_cli.durable import replace_bytes, writing
from sharedllm_cli.errors import UsageError
from sharedllm_cli.reading.sights import Sight

GENERATOR = "sharedllm report"
PIXELS = 1300
"""Of the longer side of a page's picture in a report: some 100 kB."""
_MARK = f'<meta name="generator" content="{GENERATOR}">'.encode()
_SETTINGS = (
    *("policy", "evidence_tokens", "tree", "refuse_from", "candidates", "max_new_tokens", "temperature", "top_p"),
    *("seed", "system"),
)
_MARK_WITHIN = 600
"""The first bytes of a file that show whether it is a report of ours."""
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


@dataclass(frozen=True)
class _Shown:
    """A source as the template takes it: its number, where it is, and its page as a data address."""

    number: int
    source: Source
    sight: Sight

    @property
    def place(self) -> str:
        return place_words(self.source)

    @property
    def checked(self) -> str:
        return checked_words(self.source)

    @property
    def image(self) -> str | None:
        picture = self.sight.picture
        if picture is None:
            return None
        return f"data:{picture.kind};base64,{base64.b64encode(picture.data).decode('ascii')}"


def refuse_overwriting(path: Path, *, overwrite: bool = False) -> None:
    """UsageError for a path that no report can be written to, and for a file that is none of ours.

    `overwrite`: any file may be replaced.
    """
    hint = "name another file, or add --overwrite to replace it"
    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint=f"for example: --report {path / 'answer.html'}")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}", hint="make it first, or name another file")
    if not path.exists() or overwrite:
        return
    if not path.is_file():
        raise UsageError(f"{path} is not a regular file", hint="name another file")
    try:
        with path.open("rb") as file:
            head = file.read(_MARK_WITHIN)
    except OSError as failure:
        raise UsageError(f"{path} can't be read: {(failure.strerror or '').lower()}", hint=hint) from None
    if head and _MARK not in head:
        raise UsageError(f"{path} exists, and is no report of sharedllm", hint=hint)


def write_report(path: Path, page: str, *, overwrite: bool = False) -> None:
    """Write a report whole or not at all, readable by this user alone.

    Raises UsageError as `refuse_overwriting` does and where the folder can't be written, ResourceError for a full disk.
    """
    refuse_overwriting(path, overwrite=overwrite)
    with writing(path.parent, "name another file"):
        replace_bytes(path, page.encode("utf-8", "replace"))


def report(answer: Answer, sights: Sequence[Sight], settings: Settings, when: datetime | None = None) -> str:
    """The report as HTML. `sights`: one for each of the answer's sources, made with `PIXELS`; `when` it was asked."""
    when = when or datetime.now().astimezone()
    return _rendered(
        "report.html",
        generator=GENERATOR,
        answer=answer,
        sentences=pieces_of(answer),
        groups=_groups(answer, sights),
        facts=_facts(answer, settings),
        when=when,
        said_when=f"{when:%d %B %Y, %H:%M}".lstrip("0"),
    )


def source_page(number: int, source: Source, sight: Sight) -> str:
    """One source of a document without pictures, as HTML: the text around its words, and these marked."""
    return _rendered("source.html", number=number, source=source, sight=sight, place=place_words(source))


def _rendered(name: str, **values: object) -> str:
    import jinja2

    folder = files("sharedllm_cli.serving") / "page"
    environment = jinja2.Environment(autoescape=True, finalize=_harmless)
    environment.filters |= {"sides": _sides, "capitalised": _capitalised}
    style = "".join((folder / sheet).read_text("utf-8") for sheet in ("style.css", "report.css"))
    return environment.from_string((folder / name).read_text("utf-8")).render(style=style, **values)


def pieces_of(answer: Answer) -> list[AnswerSentence]:
    """The answer's text in pieces that join to it, each with the numbers of its sources.

    White space between sentences stays; where they do not make up the answer, it is one piece without numbers.
    """
    pieces: list[AnswerSentence] = []
    place = 0
    for sentence in answer.sentences:
        start = answer.answer.find(sentence.text, place)
        if start < 0:
            return [AnswerSentence(answer.answer, [], [])]
        if before := answer.answer[place:start]:
            pieces.append(AnswerSentence(before, [], []))
        pieces.append(sentence)
        place = start + len(sentence.text)
    rest = answer.answer[place:]
    return [*pieces, AnswerSentence(rest, [], [])] if rest.strip() or not pieces else pieces


def _groups(answer: Answer, sights: Sequence[Sight]) -> list[tuple[str, list[_Shown]]]:
    """The sources that the answer rests on, and what was found besides, each with its number."""
    shown = [_Shown(number, *pair) for number, pair in enumerate(zip(answer.sources, sights, strict=True), 1)]
    told = list(zip(shown, answer.main_sources, strict=True))
    main, beside = [one for one, first in told if first], [one for one, first in told if not first]
    title = "Sources" if answer.answered or answer.matches else "Closest passages"
    return [(name, group) for name, group in ((title, main), ("Also found", beside)) if group]


def _facts(answer: Answer, settings: Settings) -> list[tuple[str, str]]:
    """What was read, how long it took and what answered, in words."""
    coverage, model, timing = answer.coverage, answer.model, answer.timing
    found = [("Read for this answer", f"{coverage.tokens_read:,} of {coverage.tokens:,} tokens")]
    if coverage.pages:
        found.append(("Pages", f"{coverage.pages:,}"))
    if coverage.pages_without_text:
        found.append(("Pages without text", ", ".join(map(str, coverage.pages_without_text))))
    if answer.not_read:
        found.append(("Files not read", ", ".join(file.name for file in answer.not_read)))
    adapter = Path(model.adapter).name if model.adapter else "none"
    found += [
        ("Model", f"{model.base} on {model.device}"),
        ("Adapter", adapter + (" (trained)" if model.adapter and model.trained else "")),
        ("Weights", "not quantized" if model.quantize == "none" else model.quantize),
        ("Time", f"{timing.total_s:.1f} s, first word after {timing.first_token_s:.1f} s"),
    ]
    changed = [
        f"{knob.name.replace('_', ' ')}: {getattr(settings, knob.name)}"
        for knob in fields(settings)
        if knob.name in _SETTINGS and getattr(settings, knob.name) != knob.default
    ]
    found.append(("Settings", ", ".join(changed) or "as they come"))
    return [*found, ("Written by", f"sharedllm {__version__}")]


def _harmless(value: object) -> object:
    """Values without control characters: HTML has no way to write them."""
    if type(value) is str:
        return _CONTROLS.sub("", value)
    return value


def _capitalised(text: str) -> str:
    """A remark as a sentence begins; the name of a file that it begins with stays as it is."""
    return text[:1].upper() + text[1:] if re.match(r"[a-z]+[ ,]", text) else text


def _sides(box: Box) -> str:
    sides = {"left": box.left, "top": box.top, "width": box.right - box.left, "height": box.bottom - box.top}
    return ";".join(f"{side}:{100 * value:.3f}%" for side, value in sides.items())
