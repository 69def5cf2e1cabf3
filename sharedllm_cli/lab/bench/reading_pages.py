"""Pages of known text for the benchmark of reading: what is on them and what a person would read aloud.

In the texts `10^{6}` is raised, `H_{2}O` lowered, and `granite[[Its note.]]` has a mark whose note is at the foot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

INLINE = re.compile(r"\^\{(?P<raised>.*?)\}|_\{(?P<lowered>.*?)\}|\[\[(?P<note>.*?)\]\]")
MARK = "\ue000"
"""Stands before the number of a note mark in a truth: the mark may be read as `2`, `[2]` or `^2`."""

_SAID_OF_HEADS = "Head of pages to"
"""Words of ours, which say where a head was found."""


@dataclass(frozen=True)
class Piece:
    """A line at a place: millimetres from the page's left and top edges, points of its size."""

    x: float
    y: float
    text: str
    size: float = 10.0


@dataclass(frozen=True)
class Sheet:
    """One page or one short document. Pieces are listed in the order of reading and drawn in the order of `drawn`."""

    kind: str
    title: str = ""
    flow: tuple[str, ...] = ()
    asides: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    pieces: tuple[Piece, ...] = ()
    drawn: tuple[int, ...] = ()
    head: str = ""
    stamp: str = ""
    columns: int = 1
    language: str = "en"
    narrow: bool = False
    wide: bool = False
    """Wider than high."""
    low: bool = False
    """Half as high, so that a short text has several pages."""
    turned: str = ""
    """`text`: /Rotate 90 and text turned to be upright. `page`: /Rotate 90 alone, so a viewer shows it lying down."""
    vertical: bool = False


@dataclass(frozen=True)
class Truth:
    """What a reading must hold: `flow` in this order, each of `floating` whole anywhere, `beside` or not."""

    flow: str
    floating: tuple[str, ...] = ()
    beside: str = ""


def truth(sheet: Sheet) -> Truth:
    """The text of a sheet as a person would read it aloud. Page numbers and stamps may be read or left out."""
    notes: list[str] = []

    def linear(text: str) -> str:
        def word(found: re.Match[str]) -> str:
            if found["note"] is None:
                return f"^{found['raised']}" if found["raised"] is not None else str(found["lowered"])
            notes.append(f"{MARK}{len(notes) + 1} {found['note']}")
            return f" {MARK}{len(notes)}"

        return INLINE.sub(word, text)

    parts = [sheet.title, *sheet.flow, *(" ".join(row) for row in sheet.rows), *(piece.text for piece in sheet.pieces)]
    flow = "\n".join(linear(part) for part in parts)
    if not sheet.head:
        return Truth(flow, (*sheet.asides, *notes), sheet.stamp)
    numbers = [str(number) for number in range(1, 10)]
    beside = " ".join([*[sheet.head] * 8, *numbers * 2, _SAID_OF_HEADS])
    return Truth(flow, (sheet.head, *sheet.asides, *notes), beside)


def grid(
    rows: tuple[tuple[str, ...], ...], columns: tuple[float, ...], top: float, step: float = 7
) -> tuple[Piece, ...]:
    """Cells at the places of a table, in reading order."""
    return tuple(
        Piece(x, top + step * line, cell)
        for line, row in enumerate(rows)
        for x, cell in zip(columns, row, strict=False)
        if cell
    )


def by_columns(pieces: tuple[Piece, ...]) -> tuple[int, ...]:
    """The order of drawing that takes one column after another: all labels, then all values."""
    return tuple(sorted(range(len(pieces)), key=lambda number: pieces[number].x))


MILLS = (
    "The valley of the Orrin has eleven water mills, and seven of them still grind. The oldest was built by a "
    "miller's widow in the dry summer of 1764, when the upper ford could be crossed on foot. Her ledgers name "
    "every farm that brought barley, and the price that each paid for a sack.",
    "Visitors reach the first mill by the lane behind the chapel. The wheel turns from April until the first "
    "frost; in winter the sluice is closed, because floating ice would break the paddles. A bell rings before the "
    "gate opens, so that nobody stands in the channel when the water comes.",
    "Below the bridge the river divides around an island of alders. Otters live there, and the parish forbids "
    "dogs from March to July. The footpath keeps to the eastern bank, past a row of cottages that once housed the "
    "coopers who made barrels for the brewery at Fenwick.",
    "The brewery closed after a fire that began in the drying loft. Its chimney remains, and storks nested on it "
    "twice. A plaque beside the yard lists nineteen apprentices with their wages, which were paid partly in coal. "
    "The youngest, Edith Marl, later kept the lighthouse on Scarp Head.",
    "From the lighthouse one sees three counties. The lamp was lit by whale oil, then by gas, and since 1931 by a "
    "small generator in the former stable. Keepers wrote the weather into a book four times a day; a storm of "
    "nine days fills a whole volume, with hardly a sentence repeated.",
    "Those volumes are now copied by pupils of the village school. Each class takes one decade and compares "
    "rainfall with harvests. Their tables hang in the hall, next to a painted map on which fields carry the names "
    "that farmers used: Long Acre, Gallows Patch, Honeycomb and Little Egypt.",
)

HEADING = ("Metal", "Density", "Melts at", "Found near")
METALS = (
    ("Copper", "8.96", "1085", "Tarn Hollow"),
    ("Zinc", "7.14", "420", "Upper Sike"),
    ("Lead", "11.34", "327", "Quarry Bank"),
    ("Nickel", "8.91", "1455", "Saint Olave"),
    ("Bismuth", "9.79", "271", "no place known"),
)
FORM = (
    ("Surname", "Underhill", "Date of birth", "17 May 1978"),
    ("Given names", "Rosa Amelia", "Nationality", "Maltese"),
    ("Street", "9 Cooper's Row", "Telephone", "0555 731 882"),
    ("Town", "Fenwick", "Email", "rosa@orrin.example"),
    ("Boat", "Sandpiper", "Length", "7.20 m"),
)
INVOICE = (
    Piece(18, 18, "Harbour Stores Limited", 14),
    Piece(18, 26, "4 Rope Walk, Fenwick"),
    *grid((("Invoice number", "HS-20417"), ("Date", "3 October 2024"), ("Customer", "Nils Abernathy")), (80, 112), 34),
    *grid(
        (
            ("Item", "Quantity", "Price", "Amount"),
            ("Hemp rope, 20 m", "2", "14.50", "29.00"),
            ("Brass lantern", "1", "63.20", "63.20"),
            ("Tar, barrel", "3", "41.00", "123.00"),
        ),
        (18, 66, 90, 116),
        64,
    ),
    *grid((("Sum", "215.20"), ("Tax 20 %", "43.04"), ("To pay", "258.24")), (90, 116), 96),
    Piece(18, 126, "Please pay within thirty days to account 88-1290-4."),
)
SLIDE = (
    Piece(16, 16, "Why the ferry runs late", 24),
    Piece(18, 42, "Causes", 16),
    Piece(18, 54, "Low water at the northern pier", 12),
    Piece(18, 63, "One engine instead of two", 12),
    Piece(18, 72, "Tickets sold on board", 12),
    Piece(112, 42, "Remedies", 16),
    Piece(112, 54, "Dredge before Easter", 12),
    Piece(112, 63, "Order the spare gearbox", 12),
    Piece(112, 72, "A booth at the quay", 12),
    Piece(16, 120, "Ferry committee, spring meeting", 9),
)
ARABIC = (
    "بنى الصيادون ميناء صغيرا قرب القرية في العام الأول بعد الفيضان. لا يدخل الميناء إلا "
    "القوارب الخفيفة، لأن الماء قليل العمق عند المدخل.",
    "في المساء يعود الرجال بالسمك إلى السوق، ثم يصلحون الشباك تحت ضوء المصابيح. كان للمدينة سور "
    "قديم، ولم يبق منه إلا برج واحد.",
)
HEBREW = (
    "הספרייה של הכפר נפתחה בבית אבן ישן ליד הבאר. בכל יום רביעי באים ילדים לשמוע סיפורים על הים ועל ההרים.",
    "בחורף החלונות סגורים והתנור דולק. הספרנית רושמת את שמות הקוראים במחברת כחולה, וכל ספר מוחזר בזמן.",
)
JAPANESE = (
    "この谷には水車が十一あり、そのうち七つは今も粉をひいている。一番古い水車は乾いた夏に建てられた。",
    "川は橋の下で二つに分かれ、島には柳の木が並ぶ。三月から七月まで犬を連れて歩くことは禁じられている。",
)

SHEETS: tuple[Sheet, ...] = (
    Sheet("prose", "Mills of the Orrin", MILLS, head="A Survey of Northern Waters", low=True),
    Sheet("columns", "Brewers, Keepers and Pupils of the Lower Orrin", MILLS, columns=2),
    Sheet(
        "notes",
        "Stones of the bridge",
        (
            "The piers are of granite[[Cut at Saint Olave before 1702.]] and the arches of sandstone. In 1938 the "
            "council counted 38[[Two more lie under water.]] blocks with a mason's sign.",
            MILLS[2],
            "The toll was lifted in 1921–1923, after the second flood.[[Minutes of the parish, volume 6, page 114.]]",
        ),
    ),
    Sheet(
        "powers",
        "Quantities",
        (
            "The reservoir holds 4.7 × 10^{6} m^{3} of water, and its surface measures 38^{2} m^{2}. A litre of H_{2}O "
            "weighs one kilogram; CO_{2} is heavier than air.",
            "Light needs 3.3 × 10^{-9} s for a metre. The sum x^{2} + y^{2} = 25 describes a ring, and the flow "
            "reaches 12 m s^{-1} at −4 °C.",
            "The ladder is 2½ feet long, and ¾ of it stands in the water, less than 0.05 % of the depth.",
        ),
    ),
    Sheet("invoice", pieces=INVOICE, drawn=by_columns(INVOICE)),
    Sheet("form", pieces=(pieces := grid(FORM, (14, 42, 76, 104), 30, 9)), drawn=by_columns(pieces)),
    Sheet("table", "Metals of the district", (MILLS[0],), rows=(HEADING, *METALS)),
    Sheet(
        "table by columns",
        pieces=(pieces := grid((HEADING, *METALS), (18, 48, 76, 104), 30)),
        drawn=by_columns(pieces),
    ),
    Sheet("slide", pieces=SLIDE, drawn=(9, 5, 6, 7, 8, 1, 2, 3, 4, 0), wide=True),
    Sheet("side notes", "The lower valley", MILLS[2:5], asides=("Otters since 1988", "Burnt 1902", "See the log book")),
    Sheet("turned", "Mills and coopers", MILLS[:2], rows=(HEADING, *METALS), turned="text"),
    Sheet("lying", "Mills and coopers", MILLS[:2], turned="page"),
    Sheet("hyphens", "", MILLS, columns=2, narrow=True),
    Sheet("watermark", "Draft report on the mills", MILLS[:4], stamp="NOT FOR RELEASE"),
    Sheet("arabic", flow=ARABIC, language="ar"),
    Sheet("hebrew", flow=HEBREW, language="he"),
    Sheet("japanese", flow=JAPANESE, language="ja"),
    Sheet("japanese, vertical", flow=JAPANESE, language="ja", vertical=True),
)
