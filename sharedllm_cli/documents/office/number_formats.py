"""A cell's number as a spreadsheet shows it, from its format: `#,##0.00 "kg"`, `0.0%`, `dd.mm.yyyy`, `[h]:mm`.

The forms of ECMA-376 (18.8.30) as far as they are in use. Names of months are English, separators those of the file's
own language of formats: comma and point. What can't be read as a format shows the number in full.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache

_BUILT_IN = (
    "General|0|0.00|#,##0|#,##0.00|||||0%|0.00%|0.00E+00|# ?/?|# ??/??|yyyy-mm-dd|d-mmm-yy|d-mmm|mmm-yy|h:mm AM/PM|"
    "h:mm:ss AM/PM|h:mm|h:mm:ss|yyyy-mm-dd h:mm|||||||||||||||#,##0;-#,##0|#,##0;-#,##0|#,##0.00;-#,##0.00|"
    "#,##0.00;-#,##0.00|#,##0;-#,##0;-|$#,##0;-$#,##0;-|#,##0.00;-#,##0.00;-|$#,##0.00;-$#,##0.00;-|mm:ss|[h]:mm:ss|"
    "mm:ss.0|##0.0E+0|@"
)
BUILT_IN = dict(enumerate(_BUILT_IN.split("|")))
"""The formats that a file names by number alone. Dates without a format of their own depend on the reader's country:
they are written in the order that all read alike."""
LONGEST_FORMAT = 255
_EPOCH, _EPOCH_1904 = datetime(1899, 12, 30), datetime(1904, 1, 1)
_LAST_DAY = 2_958_466
"""Days behind which there is no date: the end of the year 9999."""
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_TOKEN = re.compile(
    r'"[^"]*"|\\.|_.|\*.|\[[^\]]*\]|General|AM/PM|A/P|yyyy|yy|mmmmm|mmmm|mmm|mm|m|dddd|ddd|dd|d|hh|h|ss|s|'
    r"E[+-]|e|[0#?]+|[.,%/@]|.",
    re.IGNORECASE | re.DOTALL,
)
_DATE = re.compile(r"[ymdhs]", re.IGNORECASE)
_CONDITION = re.compile(r"(<=|>=|<>|<|>|=)\s*(-?\d+(?:\.\d+)?)")
_CURRENCY = re.compile(r"\$([^-\]]*)")


@dataclass(frozen=True)
class _Section:
    """One of the sections of a format, those for positive numbers, negative ones, zero and text."""

    tokens: tuple[str, ...]
    date: bool
    condition: tuple[str, float] | None = None


def shown(value: float, form: str, *, from_1904: bool = False) -> str:
    """The number as a cell of this format shows it."""
    sections = _sections(form[:LONGEST_FORMAT])
    section, size = _chosen(sections, value)
    if section is None or section.tokens == ("General",):
        return general(value)
    if section.date:
        return _date(value, section.tokens, from_1904=from_1904)
    try:
        return _number(size, section.tokens)
    except (InvalidOperation, ValueError, OverflowError):
        return general(value)


def general(value: float) -> str:
    """A number without a format: whole ones in full, others with as many digits as a sheet keeps."""
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    if value == int(value) and abs(value) < 1e11:
        return str(int(value))
    text = f"{value:.10g}"
    return text.replace("e", "E") if "e" in text else text


@lru_cache(4096)
def _sections(form: str) -> tuple[_Section, ...]:
    parts: list[list[str]] = [[]]
    for token in _TOKEN.findall(form or "General"):
        if token == ";":
            parts.append([])
        else:
            parts[-1].append("General" if token.casefold() == "general" else token)
    return tuple(_section(part) for part in parts[:4])


def _section(tokens: list[str]) -> _Section:
    condition = None
    kept: list[str] = []
    for token in tokens:
        if token.startswith("[") and token.endswith("]"):
            inner = token[1:-1]
            if (found := _CONDITION.fullmatch(inner)) is not None:
                condition = (found[1], float(found[2]))
            elif (money := _CURRENCY.match(inner)) is not None:
                kept += [f'"{money[1]}"'] if money[1] else []
            elif re.fullmatch(r"h+|m+|s+", inner, re.IGNORECASE):
                kept.append(token.casefold())
        else:
            kept.append(token)
    date = any(_DATE.match(token) for token in kept if token[:1] != "[" and token != "General")
    date = date or any(token[0] == "[" and len(token) > 2 for token in kept)
    return _Section(tuple(kept), date, condition)


def _chosen(sections: tuple[_Section, ...], value: float) -> tuple[_Section | None, float]:
    """The section for a number, and the number as that section shows it: without its sign where the section has one."""
    if any(section.condition for section in sections):
        for section in sections:
            if section.condition is None or _holds(value, *section.condition):
                return section, abs(value) if section.condition and value < 0 and len(sections) > 1 else value
        return None, value
    if value < 0 and len(sections) > 1:
        return sections[1], abs(value)
    if value == 0 and len(sections) > 2:
        return sections[2], value
    return sections[0], value


def _holds(value: float, sign: str, bound: float) -> bool:
    return {
        "<": value < bound,
        ">": value > bound,
        "<=": value <= bound,
        ">=": value >= bound,
        "=": value == bound,
        "<>": value != bound,
    }[sign]


def _literal(token: str) -> str | None:
    """What a token shows whatever the number; None for a place of the number."""
    if token[:1] == '"':
        return token.strip('"')
    if token[:1] == "\\":
        return token[1:]
    if token[:1] == "_":
        return " "
    return "" if token[:1] == "*" and len(token) > 1 else None


def _number(value: float, tokens: tuple[str, ...]) -> str:
    percent = tokens.count("%")
    if "/" in tokens and any(set(token) <= set("0#?") for token in tokens):
        return _fraction(value, tokens)
    exponent = next((place for place, token in enumerate(tokens) if token.upper() in ("E+", "E-")), None)
    mantissa = tokens if exponent is None else tokens[:exponent]
    point = next((place for place, token in enumerate(mantissa) if token == "."), len(mantissa))
    places = [place for place, token in enumerate(mantissa) if set(token) <= set("0#?")]
    if not places:
        return _around(value, tokens)
    whole = "".join(mantissa[place] for place in places if place < point)
    part = "".join(mantissa[place] for place in places if place > point)
    last = max(places)
    thousands = sum(1 for token in mantissa[last + 1 :] if token == ",") if exponent is None else 0
    grouped = any(token == "," for token in mantissa[min(places) : last])
    number = Decimal(repr(value)) * (Decimal(100) ** percent) / (Decimal(1000) ** thousands)
    power = 0
    if exponent is not None and number:
        power = number.adjusted() - max(len(whole) - 1, 0)
        number = number.scaleb(-power)
    digits = number.copy_abs().quantize(Decimal(1).scaleb(-len(part)), ROUND_HALF_UP)
    text, _, rest = f"{digits:f}".partition(".")
    least = whole.count("0")
    text = text.lstrip("0").rjust(least, "0") if least else text.lstrip("0")
    if grouped:
        text = re.sub(r"(?<=\d)(?=(?:\d{3})+$)", ",", text)
    while rest and part[len(rest) - 1] in "#?" and rest.endswith("0"):
        rest = rest[:-1]
    written = _spread(text, tokens[: min(point, last + 1)], grouped=grouped)
    written += ["." + rest] if point < len(mantissa) and (rest or not part) else []
    for token in tokens[point:last]:
        written += [] if set(token) <= set("0#?.,") else [token if (held := _literal(token)) is None else held]
    for place, token in enumerate(tokens[last + 1 :], last + 1):
        if exponent is not None and place == exponent:
            width = len("".join(token for token in tokens[place + 1 :] if set(token) <= set("0#?")))
            sign = "-" if power < 0 else "+" if token[1] == "+" else ""
            written.append(f"E{sign}{abs(power):0{max(width, 1)}d}")
        elif not set(token) <= set("0#?.,"):
            written.append(token if (held := _literal(token)) is None else held)
    shown_text = " ".join("".join(written).split())
    return f"-{shown_text}" if value < 0 and digits else shown_text


def _spread(text: str, tokens: tuple[str, ...], *, grouped: bool) -> list[str]:
    """The digits before the point in their places, with what stands before and between them: `(030) 555-1234`."""
    places = [place for place, token in enumerate(tokens) if set(token) <= set("0#?")]
    written: list[str] = []
    for place, token in reversed(list(enumerate(tokens))):
        if place in places:
            size = len(text) if place == places[0] or grouped else min(len(token), len(text))
            written.append(text[len(text) - size :])
            text = text[: len(text) - size]
        elif token != ",":
            written.append(token if (held := _literal(token)) is None else held)
    return written[::-1]


def _around(value: float, tokens: tuple[str, ...]) -> str:
    """A section without a place for digits: its own words; `General` and `@` stand for the number."""
    pieces = []
    for token in tokens:
        literal = _literal(token)
        pieces.append(general(value) if token in ("General", "@") else token if literal is None else literal)
    return " ".join("".join(pieces).split())


def _fraction(value: float, tokens: tuple[str, ...]) -> str:
    place = tokens.index("/")
    below = "".join(tokens[place + 1 : place + 2])
    most = int(below) if below.isdigit() and int(below) else 10 ** min(len(below), 4) - 1
    from fractions import Fraction

    size = abs(value)
    whole = int(size) if sum(1 for token in tokens[:place] if set(token) <= set("0#?")) > 1 else 0
    if below.isdigit() and int(below):
        above, under = round((size - whole) * most), most
    else:
        found = Fraction(size - whole).limit_denominator(most)
        above, under = found.numerator, found.denominator
    if above == under:
        whole, above = whole + 1, 0
    text = " ".join([*([str(whole)] if whole or not above else []), *([f"{above}/{under}"] if above else [])])
    return f"-{text}" if value < 0 else text


def _date(value: float, tokens: tuple[str, ...], *, from_1904: bool) -> str:
    if not 0 <= value < _LAST_DAY:
        return general(value)
    halves = any(token.upper() in ("AM/PM", "A/P") for token in tokens)
    fractional = any(re.fullmatch("0+", token) for token in tokens)
    seconds = round(value * 86400, 3 if fractional else 0)
    moment = (_EPOCH_1904 if from_1904 else _EPOCH) + timedelta(seconds=seconds)
    if not from_1904 and value < 61:
        moment += timedelta(days=1) if value < 60 else timedelta(0)  # sheets count a 29th of February 1900
    written: list[str] = []
    for place, token in enumerate(tokens):
        low = token.casefold()
        literal = _literal(token)
        if literal is not None:
            written.append(literal)
        elif low[:1] == "m" and _is_minutes(tokens, place):
            written.append(f"{moment.minute:0{len(low)}d}")
        elif low[:1] == "[" and len(low) > 2:
            written.append(str(int(seconds // {"h": 3600, "m": 60, "s": 1}[low[1]])).rjust(len(low) - 2, "0"))
        elif re.fullmatch("0+", token) and written and written[-1] == ".":
            written.append(f"{moment.microsecond:06d}"[: len(token)].ljust(len(token), "0"))
        else:
            written.append(_date_part(moment, low, token, halves=halves))
    return " ".join("".join(written).split())


def _date_part(moment: datetime, low: str, token: str, *, halves: bool) -> str:
    hour = (moment.hour % 12 or 12) if halves else moment.hour
    parts = {
        "yyyy": f"{moment.year:04d}",
        "yy": f"{moment.year % 100:02d}",
        "e": f"{moment.year:04d}",
        "mmmmm": MONTHS[moment.month - 1][0],
        "mmmm": MONTHS[moment.month - 1],
        "mmm": MONTHS[moment.month - 1][:3],
        "mm": f"{moment.month:02d}",
        "m": str(moment.month),
        "dddd": DAYS[moment.weekday()],
        "ddd": DAYS[moment.weekday()][:3],
        "dd": f"{moment.day:02d}",
        "d": str(moment.day),
        "hh": f"{hour:02d}",
        "h": str(hour),
        "ss": f"{moment.second:02d}",
        "s": str(moment.second),
        "am/pm": "AM" if moment.hour < 12 else "PM",
        "a/p": "A" if moment.hour < 12 else "P",
        "@": "",
        "general": "",
    }
    return parts.get(low, token)


def _is_minutes(tokens: tuple[str, ...], place: int) -> bool:
    """Whether an `m` means minutes: the time before it are hours, or that after it seconds."""
    if len(tokens[place]) > 2:
        return False
    kinds = [token.strip("[]").casefold()[:1] for token in tokens if _literal(token) is None]
    at = sum(1 for token in tokens[:place] if _literal(token) is None)
    before = next((kind for kind in reversed(kinds[:at]) if kind in "ymdhs" and kind), "")
    after = next((kind for kind in kinds[at + 1 :] if kind in "ymdhs" and kind), "")
    return before == "h" or after == "s"
