"""Papers of an orchard, made so that every count is known: mails, tables, minutes, a price list, a German and a French
letter."""

from __future__ import annotations

from pathlib import Path

VARIETIES = ("russet", "pippin", "codlin", "bramley", "quarrenden")


def write_orchard(folder: Path) -> None:
    """Eleven documents: five sheets of varieties, three minutes, a price list, two letters."""
    folder.mkdir(parents=True)
    for number, variety in enumerate(VARIETIES, 1):
        scab = "Scab was seen on the lower leaves.\n\n" if number in (2, 4) else ""
        graft = "Every graft took on the first try. One graft was lost in frost.\n\n" if number % 2 else ""
        (folder / f"variety-{variety}.md").write_text(
            f"# The {variety}\n\n## Habit\n\nA tree of moderate vigour.\n\n{graft}"
            f"## Harvest\n\nPicked from 1{number} September 201{number}.\n\n{scab}"
            + ("## Cider\n\nPressed alone it makes a dry cider.\n" if number >= 4 else "")
        )
    for month, (day, people) in {"march": (3, 4), "june": (17, 6), "october": (29, 5)}.items():
        swarm = "A swarm of bees was taken from the old wall. The swarm is housed.\n\n" if month == "june" else ""
        (folder / f"minutes-{month}.md").write_text(
            f"# Minutes of {month.capitalize()} {day}\n\n## Present\n\n{people} members were present.\n\n"
            f"## Business\n\nThe treasurer, Odile Marsh, read the accounts.\n\n{swarm}"
            "## Next meeting\n\nThe date will be sent by post.\n"
        )
    page = "Ladder, ash, twelve rungs: 40 crowns.\n\nPicking bag: 7 crowns.\n"
    (folder / "prices.txt").write_text("\f".join([page, "Pruning saw: 12 crowns.\n", "Graft wax: 3 crowns.\n"]))
    (folder / "brief.txt").write_text(
        "Sehr geehrte Frau Marsh, die Leitern sind bestellt. Eine Leiter ist schon da. "
        "Wir danken Ihnen für die Lieferung der Bienen und grüßen alle Mitglieder des Vereins herzlich.\n"
    )
    (folder / "lettre.txt").write_text(
        "Chère Madame, le pressoir est réparé. Nous avons essayé le pressoir hier avec les pommes de la vallée, "
        "et nous vous remercions de votre patience pendant ces longues semaines.\n"
    )
