"""Numbers as people read them: counts, seconds, bytes."""

from __future__ import annotations


def count(value: float, unit: str) -> str:
    """A number in its unit's scale: bytes in MB, all else whole, with thousands marked."""
    if unit == "bytes":
        return f"{value / 1e6:,.1f}"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def amount(value: float, unit: str) -> str:
    """A number with its unit: `131,072 tokens`, `98.4 MB`."""
    return f"{count(value, unit)} {'MB' if unit == 'bytes' else unit}".rstrip()


def number_of(count: int, noun: str) -> str:
    """A number of things in the grammatical number that goes with it: `1 chunk`, `1,024 chunks`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def duration(seconds: float) -> str:
    """Seconds as people say them: `0.4 s`, `12 s`, `3 min 20 s`, `1 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(number: float) -> str:
    """Bytes as people say them: `512 B`, `331 MB`, `3.5 GB` (powers of 1,000)."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= scale:
            value = number / scale
            return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return f"{number:.0f} B"


def page_list(numbers: list[int], noun: str = "page") -> str:
    """Pages by their numbers: `page 4`, `pages 4, 7–9`."""
    return f"{noun if len(set(numbers)) == 1 else noun + 's'} {ranges(numbers)}"


def ranges(numbers: list[int]) -> str:
    """Page numbers as people write them: `4, 7–9`."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in runs)
