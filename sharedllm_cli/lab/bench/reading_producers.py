"""PDFs of the benchmark's sheets: drawn here, or typeset by LaTeX, Chromium or LibreOffice where they are installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from sharedllm_cli.errors import ResourceError
from sharedllm_cli.lab.bench.reading_pages import INLINE, Piece, Sheet

WIDTH, HEIGHT = 148, 210
"""Millimetres: A5 paper."""
_POINT = 72 / 25.4
_SECONDS = 180.0
_SYLLABLE = re.compile(r"(?<=[a-z]{2}[aeiou])(?=[bcdfglmnprstv][a-z]{2})")


@dataclass(frozen=True)
class Producer:
    """A way to make PDFs: the program that it needs, the source that the program gets, and its command line."""

    name: str
    program: str | None
    suffix: str
    source: Callable[[Sheet], bytes]
    command: Callable[[str, Path], list[str]]
    lacks: frozenset[str] = frozenset()
    """Kinds of sheets that it can't make."""

    @property
    def exists(self) -> bool:
        return self.program is None or shutil.which(self.program) is not None

    def make(self, sheet: Sheet, target: Path) -> None:
        """Write the sheet's PDF. Raises ResourceError where the program fails."""
        if self.program is None:
            target.write_bytes(self.source(sheet))
            return
        written = target.with_suffix(self.suffix)
        written.write_bytes(self.source(sheet))
        command = self.command(self.program, written)
        try:
            done = subprocess.run(command, cwd=target.parent, capture_output=True, text=True, timeout=_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as failure:
            raise ResourceError(f"{self.name} made no {target.name} ({failure})") from failure
        if not target.exists():
            raise ResourceError(f"{self.name} made no {target.name}: {(done.stderr or done.stdout).strip()[-300:]}")


def _size(sheet: Sheet) -> tuple[float, float]:
    width, height = (WIDTH, HEIGHT / 2) if sheet.low else (WIDTH, HEIGHT)
    return (height, width) if sheet.wide else (width, height)


def _in_order(sheet: Sheet) -> list[Piece]:
    return [sheet.pieces[number] for number in sheet.drawn or range(len(sheet.pieces))]


def _inline(text: str, *, raised: str, lowered: str, note: Callable[[str], str], quote: Callable[[str], str]) -> str:
    """The text with its raised, lowered and noted parts written by the given forms."""

    def parts() -> Iterator[str]:
        place = 0
        for found in INLINE.finditer(text):
            yield quote(text[place : found.start()])
            if found["note"] is not None:
                yield note(found["note"])
            else:
                form, inner = (lowered, found["lowered"]) if found["raised"] is None else (raised, found["raised"])
                yield form.replace("@", quote(inner))
            place = found.end()
        yield quote(text[place:])

    return "".join(parts())


# LaTeX

_TEX = {"&": r"\&", "%": r"\%", "°": r"\textdegree{}", "×": r"$\times$", "½": r"\textonehalf{}", "−": "$-$"}
_TEX |= {"¾": r"\textthreequarters{}", "<": "$<$", "–": "--"}


def latex(sheet: Sheet) -> bytes:
    """A source for pdflatex."""

    def inline(text: str) -> str:
        return _inline(
            text,
            raised=r"\textsuperscript{@}",
            lowered=r"\textsubscript{@}",
            note=lambda note: rf"\footnote{{{quote(note)}}}",
            quote=quote,
        )

    def quote(text: str) -> str:
        return "".join(_TEX.get(character, character) for character in text)

    wide, high = _size(sheet)
    options = ",twocolumn" if sheet.columns == 2 else ""
    lines = [
        rf"\documentclass[10pt{options}]{{article}}",
        r"\usepackage{textcomp,graphicx,fancyhdr,pdflscape}",
        rf"\paperwidth={wide}mm \paperheight={high}mm \textwidth={wide - 36}mm \textheight={high - 50}mm",
        r"\oddsidemargin=-7.4mm \topmargin=-16.4mm \headheight=12pt \headsep=12pt \marginparwidth=24mm",
        rf"\pagestyle{{{'fancy' if sheet.head else 'empty'}}} \fancyhf{{}} \fancyhead[C]{{{quote(sheet.head)}}}",
        r"\fancyfoot[C]{\thepage}",
    ]
    if sheet.asides:
        lines.append(rf"\textwidth={wide - 64}mm")
    if sheet.turned == "page":
        lines.append(r"\pdfpageattr{/Rotate 90}")
    if sheet.stamp:
        mark = rf"\rotatebox{{45}}{{\Huge {sheet.stamp}}}"
        lines.append(rf"\AddToHook{{shipout/background}}{{\put(25mm,-160mm){{{mark}}}}}")
    for piece in _in_order(sheet):
        font = rf"\fontsize{{{piece.size}}}{{{piece.size}}}\selectfont "
        lines.append(
            rf"\AddToHook{{shipout/foreground}}{{\put({piece.x}mm,-{piece.y}mm){{{font}{quote(piece.text)}}}}}"
        )
    lines.append(r"\begin{document}" + (r"\begin{landscape}" if sheet.turned == "text" else ""))
    if sheet.title:
        heading = rf"{{\Large\bfseries {quote(sheet.title)}\par\bigskip}}"
        lines.append(rf"\twocolumn[{heading}]" if sheet.columns == 2 else rf"\noindent {heading}")
    for number, text in enumerate(sheet.flow):
        aside = rf"\marginpar{{\footnotesize {sheet.asides[number]}}}" if number < len(sheet.asides) else ""
        lines.append(aside + inline(text) + "\n")
    if sheet.rows:
        rows = (r"\\ ".join(" & ".join(quote(cell) for cell in row) for row in sheet.rows)).replace("−", "-")
        lines.append(rf"\bigskip\noindent\begin{{tabular}}{{llll}}{rows}\end{{tabular}}")
    lines.append(r"\mbox{}" + (r"\end{landscape}" if sheet.turned == "text" else "") + r"\end{document}")
    return "\n".join(lines).encode()


# Chromium


def _hyphenable(sheet: Sheet, text: str) -> str:
    return _SYLLABLE.sub("\u00ad", text) if sheet.narrow else text


def html(sheet: Sheet) -> bytes:
    """A page for Chromium to print."""
    notes: list[str] = []

    def note(text: str) -> str:
        notes.append(text)
        return f"<sup>{len(notes)}</sup>"

    def inline(text: str) -> str:
        text = _hyphenable(sheet, text)
        return _inline(text, raised="<sup>@</sup>", lowered="<sub>@</sub>", note=note, quote=escape)

    wide, high = _size(sheet)
    margin = 0 if sheet.pieces else 18
    turned = "page-orientation: rotate-right;" if sheet.turned == "page" else ""
    heads = (
        f'@top-center {{ content: "{sheet.head}" }} @bottom-center {{ content: counter(page) }}' if sheet.head else ""
    )
    flow = "columns: 2; column-gap: 6mm;" if sheet.columns == 2 else ""
    flow += "text-align: justify;" if sheet.narrow else ""
    flow += "margin-right: 30mm; position: relative;" if sheet.asides else ""
    flow += f"writing-mode: vertical-rl; height: {high - 60}mm;" if sheet.vertical else ""
    direction = "rtl" if sheet.language in ("ar", "he") else "ltr"
    lines = [
        f'<!DOCTYPE html><html lang="{sheet.language}" dir="{direction}"><meta charset="utf-8"><title>-</title><style>',
        f"@page {{ size: {wide}mm {high}mm; margin: {margin}mm; {turned} {heads if sheet.head else ''} }}",
        "body { margin: 0; font: 10pt/1.35 'DejaVu Serif', 'DejaVu Sans', 'Droid Sans Fallback' }",
        "td { padding: 1mm 3mm }",
        ".at { position: absolute; white-space: pre; line-height: 1 } h1 { font-size: 15pt } p { margin: 0 0 2mm }",
        "aside { position: absolute; left: 100%; margin-left: 4mm; width: 24mm; font-size: 8pt }",
        ".notes { position: absolute; top: 150mm; font-size: 8pt }",
        ".stamp { position: fixed; top: 80mm; font-size: 30pt; color: silver; transform: rotate(-45deg) }</style>",
    ]
    if sheet.stamp:
        lines.append(f'<div class="stamp">{sheet.stamp}</div>')
    if sheet.title:
        lines.append(f"<h1>{escape(sheet.title)}</h1>")
    lines.append(f'<div style="{flow}">')
    for number, text in enumerate(sheet.flow):
        lines.append(f"<aside>{sheet.asides[number]}</aside>" if number < len(sheet.asides) else "")
        lines.append(f"<p>{inline(text)}</p>")
    lines.append("</div>")
    if sheet.rows:
        cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in sheet.rows)
        lines.append("<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>")
    if notes:
        told = "".join(f"<p><sup>{number}</sup> {escape(text)}</p>" for number, text in enumerate(notes, 1))
        lines.append(f'<div class="notes">{told}</div>')
    for piece in _in_order(sheet):
        place = f"left:{piece.x}mm; top:{piece.y}mm; font-size:{piece.size}pt"
        lines.append(f'<div class="at" style="{place}">{escape(piece.text)}</div>')
    return "\n".join(lines).encode()


# LibreOffice

_OASIS = "urn:oasis:names:tc:opendocument:xmlns"
_SPACES = {name: name for name in ("office", "style", "text", "table")}
_SPACES |= {"draw": "drawing", "fo": "xsl-fo-compatible", "svg": "svg-compatible"}
_LOCALE = {"en": ("en", "GB"), "ar": ("ar", "EG"), "he": ("he", "IL"), "ja": ("ja", "JP")}


def flat_odf(sheet: Sheet) -> bytes:
    """A flat OpenDocument text for Writer; pieces at places make a slide for Impress."""
    wide, high = _size(sheet)
    mode = "rl-tb" if sheet.language in ("ar", "he") else "tb-rl" if sheet.vertical else "lr-tb"
    justified = ' fo:text-align="justify"' if sheet.narrow else ""
    margins = {"left": 18, "right": 30 if sheet.asides else 18, "top": 18, "bottom": 18}
    around = " ".join(f'fo:margin-{side}="{size}mm"' for side, size in margins.items())
    page = (
        f'<style:page-layout-properties fo:page-width="{wide}mm" fo:page-height="{high}mm" '
        f'style:writing-mode="{mode}" {around}/>'
    )
    gap = '<style:header-footer-properties fo:margin-bottom="4mm" fo:margin-top="4mm"/>'
    hook = (
        "".join(f"<style:{end}-style>{gap}</style:{end}-style>" for end in ("header", "footer")) if sheet.head else ""
    )
    fonts = "".join(f'{name}="{value}" ' for name, value in _fonts(sheet.language))
    styles = [
        f'<style:page-layout style:name="L">{page}{hook}</style:page-layout>',
        f'<style:style style:name="T" style:family="paragraph"><style:paragraph-properties{justified} '
        f'style:writing-mode="{mode}" fo:margin-bottom="2mm"/><style:text-properties {fonts}/></style:style>',
        _text_style("U", 'style:text-position="super 58%"'),
        _text_style("D", 'style:text-position="sub 58%"'),
        _text_style("B", 'fo:font-size="15pt" fo:font-weight="bold"'),
        *(_text_style(f"Z{size:g}", f'fo:font-size="{size}pt"') for size in {piece.size for piece in sheet.pieces}),
        '<style:style style:name="C" style:family="section"><style:section-properties>'
        '<style:columns fo:column-count="2" fo:column-gap="6mm"/></style:section-properties></style:style>',
        _frame_style("F", 'draw:auto-grow-width="true" draw:textarea-horizontal-align="left"'),
        _frame_style("A", ""),
    ]
    kind = "presentation" if sheet.pieces else "text"
    spaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{space}:1.0"' for name, space in _SPACES.items()
    )
    head = f"<style:header><text:p>{escape(sheet.head)}</text:p></style:header>" if sheet.head else ""
    foot = "<style:footer><text:p><text:page-number/></text:p></style:footer>" if sheet.head else ""
    body = _slide(sheet) if sheet.pieces else _writer(sheet)
    return (
        f'<?xml version="1.0"?><office:document {spaces} office:version="1.3" '
        f'office:mimetype="application/vnd.oasis.opendocument.{kind}"><office:automatic-styles>{"".join(styles)}'
        f'</office:automatic-styles><office:master-styles><style:master-page style:name="Standard" '
        f'style:page-layout-name="L">{head}{foot}</style:master-page></office:master-styles>'
        f"<office:body><office:{kind}>{body}</office:{kind}></office:body></office:document>"
    ).encode()


def _frame_style(name: str, properties: str) -> str:
    return (
        f'<style:style style:name="{name}" style:family="graphic"><style:graphic-properties draw:stroke="none" '
        'draw:fill="none" fo:border="none" fo:padding="0mm" style:wrap="run-through" style:vertical-pos="from-top" '
        f'style:vertical-rel="paragraph" style:horizontal-pos="from-left" style:horizontal-rel="page" {properties}/>'
        "</style:style>"
    )


def _text_style(name: str, properties: str) -> str:
    return f'<style:style style:name="{name}" style:family="text"><style:text-properties {properties}/></style:style>'


def _fonts(language: str) -> Iterator[tuple[str, str]]:
    code, country = _LOCALE[language]
    suffix = {"en": "", "ja": "-asian"}.get(language, "-complex")
    space = "fo" if not suffix else "style"
    yield f"{space}:language{suffix}", code
    yield f"{space}:country{suffix}", country
    for end in ("", "-asian", "-complex"):
        yield f"{'style' if end else 'fo'}:font-size{end}", "10pt"
        yield f"style:font-name{end}", "Droid Sans Fallback" if end == "-asian" else "DejaVu Sans"


def _slide(sheet: Sheet) -> str:
    boxes = (
        f'<draw:frame draw:style-name="F" svg:x="{piece.x}mm" svg:y="{piece.y}mm" svg:width="90mm" svg:height="8mm">'
        f'<draw:text-box><text:p><text:span text:style-name="Z{piece.size:g}">{escape(piece.text)}</text:span></text:p>'
        "</draw:text-box></draw:frame>"
        for piece in _in_order(sheet)
    )
    return f'<draw:page draw:master-page-name="Standard">{"".join(boxes)}</draw:page>'


def _writer(sheet: Sheet) -> str:
    def note(text: str) -> str:
        inner = f"<text:note-citation/><text:note-body><text:p>{escape(text)}</text:p></text:note-body>"
        return f'<text:note text:note-class="footnote">{inner}</text:note>'

    span = '<text:span text:style-name="{}">@</text:span>'

    def inline(text: str) -> str:
        text = _hyphenable(sheet, text)
        return _inline(text, raised=span.format("U"), lowered=span.format("D"), note=note, quote=escape)

    lines = []
    if sheet.title:
        lines.append(f'<text:p text:style-name="T">{span.format("B").replace("@", escape(sheet.title))}</text:p>')
    if sheet.stamp:
        lines.append(
            '<text:p><draw:custom-shape draw:style-name="F" text:anchor-type="paragraph" svg:width="130mm" '
            f'svg:height="14mm" draw:transform="rotate (0.785) translate (10mm 120mm)"><text:p>'
            f'<text:span text:style-name="B">{sheet.stamp}</text:span></text:p></draw:custom-shape></text:p>'
        )
    if sheet.columns == 2:
        lines.append('<text:section text:style-name="C" text:name="C">')
    for number, text in enumerate(sheet.flow):
        aside = ""
        if number < len(sheet.asides):
            told = f'<text:p text:style-name="T">{escape(sheet.asides[number])}</text:p>'
            aside = (
                f'<draw:frame draw:style-name="A" text:anchor-type="paragraph" svg:x="{WIDTH - 27}mm" svg:y="0mm" '
                f'svg:width="22mm"><draw:text-box fo:min-height="5mm">{told}</draw:text-box></draw:frame>'
            )
        lines.append(f'<text:p text:style-name="T">{aside}{inline(text)}</text:p>')
    if sheet.columns == 2:
        lines.append("</text:section>")
    if sheet.rows:
        cells = (
            "".join(f"<table:table-cell><text:p>{escape(cell)}</text:p></table:table-cell>" for cell in row)
            for row in sheet.rows
        )
        rows = "".join(f"<table:table-row>{row}</table:table-row>" for row in cells)
        width = len(sheet.rows[0])
        lines.append(f'<table:table><table:table-column table:number-columns-repeated="{width}"/>{rows}</table:table>')
    return "".join(lines)


PRODUCERS: tuple[Producer, ...] = (
    Producer(
        "latex",
        "pdflatex",
        ".tex",
        latex,
        lambda program, source: [program, "-interaction=nonstopmode", source.name],
        frozenset({"arabic", "hebrew", "japanese", "japanese, vertical"}),
    ),
    Producer(
        "chromium",
        "chromium",
        ".html",
        html,
        lambda program, source: [
            *(program, "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"),
            *(f"--user-data-dir={source.parent / 'profile'}", f"--print-to-pdf={source.with_suffix('.pdf').name}"),
            source.as_uri(),
        ],
        frozenset({"turned"}),
    ),
    Producer(
        "office",
        "soffice",
        ".xml",
        flat_odf,
        lambda program, source: [
            *(program, "--headless", f"-env:UserInstallation={(source.parent / 'office').as_uri()}"),
            *("--convert-to", "pdf", source.name),
        ],
        frozenset({"turned", "lying"}),
    ),
)
