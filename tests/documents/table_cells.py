"""Documents that are mostly prose, with tables in them, and questions that name a row and a column of one.

The words are drawn by a number, so that a set that was looked at and one that was not differ in all but their form.
Rows share words with each other (North pier, South pier), columns with other tables and with the prose.
"""

from __future__ import annotations

import html
import random
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from office_making import docx, p, rows, xlsx


def _names(names: str) -> tuple[str, ...]:
    return tuple(names.split())


FORMATS = ("txt", "html", "md", "docx", "xlsx", "pdf")
_FIRST = _names("north south east west upper lower old new inner outer middle little great long black white")
_PLACES = _names(
    "pier quarry orchard ferry mill chapel bridge lock granary kiln tannery weir brewery forge dairy stable"
)
_GOODS = _names(
    "lantern harrow sieve bellows winch anvil kettle churn ladle mallet pulley rope sledge trowel basket barrel"
)
_COLUMNS = (
    *("yearly rent", "keeper", "built in", "depth", "insured value", "last repair", "capacity", "number of staff"),
    *("weight", "price per piece", "stock in May", "supplier", "delivery time", "order number", "colour", "warranty"),
)
_NAMES = _names(
    "Marlow Tregear Anstey Oldcastle Brisco Penhale Quill Rosewarne Sable Tolland Upcott Varley Wroth Yelland"
)
_UNITS = {"yearly rent": " pounds", "depth": " m", "insured value": " pounds", "capacity": " l", "weight": " kg"}
_PROSE = (
    "The {place} was visited in spring, and its {column} was talked over at length by the committee without a result.",
    "Nobody could say who had first kept a {good} there, though the {column} was often asked for in letters.",
    "A list of the {column} of all places follows in this paper, as the members had wished for at their meeting.",
    "When the wind came from the {first}, the {place} stood empty for weeks and the {good} rusted in its shed.",
)


@dataclass(frozen=True)
class Cell:
    """A question, and what the first source must hold: the row's name and the value."""

    question: str
    row: str
    value: str


@dataclass(frozen=True)
class Table:
    """A title, the names of the columns, and the rows."""

    title: str
    heads: tuple[str, ...]
    body: tuple[tuple[str, ...], ...]


def made(kind: str, seed: int, count: int) -> tuple[bytes, list[Cell]]:
    """A document of a format with two tables, and questions for cells of them."""
    draw = random.Random(f"{kind}{seed}")
    tables = [_table(draw, _PLACES, "Places", 40), _table(draw, _GOODS, "Goods", 30)]
    prose = [_prose(draw) for _ in range(12)]
    cells = [_cell(draw, tables[number % 2]) for number in range(count)]
    return {"txt": _txt, "html": _html, "md": _md, "docx": _docx, "xlsx": _xlsx, "pdf": _pdf}[kind](
        prose, tables
    ), cells


def _table(draw: random.Random, words: Sequence[str], title: str, size: int) -> Table:
    names = draw.sample([f"{first} {word}" for first in _FIRST for word in words], size)
    heads = tuple(draw.sample(_COLUMNS, 4))
    body = tuple((name.capitalize(), *(_value(draw, head) for head in heads)) for name in names)
    return Table(title, ("Name", *heads), body)


def _value(draw: random.Random, head: str) -> str:
    if head in ("keeper", "supplier"):
        return f"{draw.choice('ABCDEFGHJKLMN')}. {draw.choice(_NAMES)}"
    if head in ("built in", "last repair"):
        return str(draw.randint(1700, 2020))
    if head == "colour":
        return draw.choice(["russet", "ochre", "teal", "slate", "crimson", "ivory", "umber", "indigo"])
    return f"{draw.randint(100, 9999) / draw.choice([1, 10]):g}{_UNITS.get(head, '')}"


def _prose(draw: random.Random) -> str:
    choice = {"place": _PLACES, "column": _COLUMNS, "good": _GOODS, "first": _FIRST}
    return " ".join(
        one.format(**{key: draw.choice(held) for key, held in choice.items()}) for one in draw.sample(_PROSE, 3)
    )


def _cell(draw: random.Random, table: Table) -> Cell:
    row, column = draw.choice(table.body), draw.randrange(1, len(table.heads))
    asked = draw.choice(["What is the {column} of the {row}?", "{column} of the {row}", "Which {column} has the {row}?",
                         "For the {row}, what is given as {column}?"])  # fmt: skip
    return Cell(asked.format(column=table.heads[column], row=row[0].lower()), row[0], row[column])


def _mixed(prose: Sequence[str], tables: Sequence[object]) -> list[object]:
    return [*prose[:4], tables[0], *prose[4:8], tables[1], *prose[8:]]


def _txt(prose: Sequence[str], tables: Sequence[Table]) -> bytes:
    def lines(table: Table) -> str:
        widths = [max(len(row[place]) for row in (table.heads, *table.body)) + 3 for place in range(len(table.heads))]
        every = (table.heads, *table.body)
        return "\n".join(
            "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in every
        )

    return "\n\n".join(str(one) for one in _mixed(prose, [lines(table) for table in tables])).encode()


def _html(prose: Sequence[str], tables: Sequence[Table]) -> bytes:
    def table_of(table: Table) -> str:
        head = "".join(f"<th>{html.escape(one)}</th>" for one in table.heads)
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(one)}</td>' for one in row)}</tr>" for row in table.body)
        return f"<h2>{table.title}</h2><table><tr>{head}</tr>{body}</table>"

    pieces = _mixed([f"<p>{one}</p>" for one in prose], [table_of(table) for table in tables])
    return f"<html><body>{''.join(map(str, pieces))}</body></html>".encode()


def _md(prose: Sequence[str], tables: Sequence[Table]) -> bytes:
    def table_of(table: Table) -> str:
        lines = [table.heads, tuple("---" for _ in table.heads), *table.body]
        return f"## {table.title}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in lines)

    return "\n\n".join(map(str, _mixed(prose, [table_of(table) for table in tables]))).encode()


def _docx(prose: Sequence[str], tables: Sequence[Table]) -> bytes:
    def table_of(table: Table) -> str:
        lines = (
            f"<w:tr>{''.join(f'<w:tc>{p(html.escape(one))}</w:tc>' for one in row)}</w:tr>"
            for row in (table.heads, *table.body)
        )
        return f"{p(table.title)}<w:tbl>{''.join(lines)}</w:tbl>"

    return docx("".join(map(str, _mixed([p(one) for one in prose], [table_of(table) for table in tables]))))


def _xlsx(prose: Sequence[str], tables: Sequence[Table]) -> bytes:
    sheets = {table.title: rows(table.heads, *table.body) for table in tables}
    return xlsx({"Notes": rows(*([one] for one in prose)), **sheets})


def _pdf(prose: Sequence[str], tables: Sequence[Table]) -> bytes:
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer
    from reportlab.platypus import Table as Grid

    style = getSampleStyleSheet()["BodyText"]
    flow: list[object] = []
    for one in _mixed([Paragraph(text, style) for text in prose], list(tables)):
        if isinstance(one, Table):
            grid = Grid([one.heads, *one.body], repeatRows=1, style=[("GRID", (0, 0), (-1, -1), 0.5, "black")])
            flow += [Paragraph(one.title, getSampleStyleSheet()["Heading2"]), grid, Spacer(1, 12)]
        else:
            flow.append(one)
    target = BytesIO()
    SimpleDocTemplate(target, pagesize=A4).build(flow)
    return target.getvalue()


def found(cell: Cell, quote: str) -> bool:
    """Whether a quote holds the cell's row, with its value behind its name in the same line."""
    lines = [line for line in quote.split("\n") if cell.row in line]
    return any(cell.value in line.partition(cell.row)[2] for line in lines)
