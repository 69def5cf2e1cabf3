"""Papers of two harbours, made here, so that what is counted and listed in them is known from how they are made."""

from __future__ import annotations

from pathlib import Path

WINCH = {"carrow-2001": 1, "carrow-2003": 3, "carrow-2006": 2, "denby-2002": 4, "denby-2005": 1}
"""How often the winch is mentioned, by report."""
COXSWAINS = {
    "carrow-2001": "Elias Thorn",
    "carrow-2002": "Amos Quayle",
    "carrow-2003": "Hugh Ansell",
    "carrow-2004": "Hester Lyle",
    "carrow-2005": "Owen Pask",
    "carrow-2006": "Nell Farrow",
    "denby-2001": "Silas Crane",
    "denby-2002": "Ruth Amory",
    "denby-2003": "Ivor Teal",
    "denby-2004": "Dora Finch",
    "denby-2005": "Piers Holt",
    "denby-2006": "Una Marsh",
}
REPAIRS = ("carrow-2002", "carrow-2005", "denby-2001", "denby-2004", "denby-2006")
FOG = ("carrow-2004", "denby-2001", "denby-2003", "denby-2006")
SEALS = ("denby-2002", "letters")
DATES = {
    "carrow-2001": "14 March 2001",
    "carrow-2002": "2 May 2002",
    "carrow-2003": "9 August 2003",
    "carrow-2004": "30 January 2004",
    "carrow-2005": "17 June 2005",
    "carrow-2006": "21 October 2006",
    "denby-2001": "5 April 2001",
    "denby-2002": "11 November 2002",
    "denby-2003": "23 July 2003",
    "denby-2004": "8 February 2004",
    "denby-2005": "19 September 2005",
    "denby-2006": "26 December 2006",
}
WINCH_SENTENCES = (
    "The winch was oiled by the youngest hand.",
    "A new rope was wound upon the winch.",
    "Nobody could turn the winch in the frost.",
    "The old winches were sold to a farmer.",
)
LETTERS = (
    "To the harbour board.\n\nThe slipway is too short for the new boat. We ask for ten yards more.",
    "To the harbour board.\n\nThe slipway was seen by your engineer on 3 June 1998. He wrote nothing down.",
    "To the harbour board.\n\nSeals lie upon the slipway at low tide and will not be moved.",
    "To the harbour board.\n\nYour letter of 12 July 1998 was read aloud. The bell buoy is still silent.",
)
LEDGER = ("Oil, four cans.", "Rope, ninety fathoms.", "A bell for the bell buoy.")


def report(name: str) -> str:
    """One year's report of a harbour: a title, and chapters that some reports have and others do not."""
    place, year = name.split("-")
    lines = [f"# Report of {place.title()} for {year}", "", f"It was signed on {DATES[name]} in the boathouse.", ""]
    lines += ["## Crew", "", f"{COXSWAINS[name]} was chosen as coxswain. The crew had nine hands.", ""]
    lines += ["## Boats", "", *WINCH_SENTENCES[: WINCH.get(name, 0)], "The boat was painted grey.", ""]
    if name in REPAIRS:
        lines += ["## Repairs", "", "The keel was mended before the winter.", ""]
    lines += ["## Weather", "", "There was much wind from the west.", ""]
    if name in FOG:
        lines += ["Fog stood upon the bar for three days.", ""]
    if name in SEALS:
        lines += ["Two seals came into the basin.", ""]
    return "\n".join(lines)


def write_papers(folder: Path) -> None:
    """Twelve reports in Markdown, letters on four pages, and a ledger on three."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in COXSWAINS:
        (folder / f"{name}.md").write_text(report(name), encoding="utf-8")
    (folder / "letters.txt").write_text("\f".join(LETTERS), encoding="utf-8")
    (folder / "ledger.txt").write_text("\f".join(LEDGER), encoding="utf-8")
