"""Counts over a collection: every document once, whatever files hold it, and under the name that it has now."""

from __future__ import annotations

from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest
from keeping import Keeper, age
from test_updating import settle

from sharedllm_cli.answering.tallies import Tallies
from sharedllm_cli.answering.tally_wording import tally_asked
from sharedllm_cli.collections import member

PLAN = "The landlord repairs the roof of the mill."
MENTIONS = "Which documents mention the landlord?"


def write_mail(keeper: Keeper, name: str, attached: str, text: str = PLAN) -> Path:
    """A mail that carries a text."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "ada@example.org", "bo@example.org", name
    mail.set_content(f"The papers of {name} are enclosed.")
    mail.add_attachment(text.encode(), "text", "plain", filename=attached)
    path = keeper.files / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(mail.as_bytes())
    age(path)
    return path


def counted(keeper: Keeper, question: str, *names: str | Path) -> str:
    asked = tally_asked(question)
    assert asked is not None
    tally = Tallies(keeper.open(*(map(str, names) if names else ("@notes",))).narrowed(question)).answer(asked)
    assert tally is not None
    return tally.text


def delete_the_plain_file(keeper: Keeper) -> None:
    (keeper.files / "a.txt").unlink()


def rename_the_mail(keeper: Keeper) -> None:
    (keeper.files / "a.txt").unlink()
    (keeper.files / "letter.eml").rename(keeper.files / "brief.eml")


def delete_the_first_mail(keeper: Keeper) -> None:
    (keeper.files / "a.txt").unlink()
    write_mail(keeper, "other.eml", "copy of the plan.txt")
    settle()
    keeper.update("notes")
    (keeper.files / "letter.eml").unlink()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (delete_the_plain_file, "letter.eml › plan.txt"),
        (rename_the_mail, "brief.eml › plan.txt"),
        (delete_the_first_mail, "other.eml › copy of the plan.txt"),
    ],
)
def test_what_a_mail_carries_counts_when_other_files_of_its_content_go(
    keeper: Keeper, change: Callable[[Keeper], None], name: str
) -> None:
    keeper.write("a.txt", PLAN)
    write_mail(keeper, "letter.eml", "plan.txt")
    settle()
    keeper.add("notes")
    assert counted(keeper, MENTIONS) == "1 of 2 documents mentions landlord: a.txt"
    change(keeper)
    settle()
    for _ in range(2):
        assert counted(keeper, MENTIONS) == f"1 of 2 documents mentions landlord: {name}"
        assert name in counted(keeper, "How many documents are there?")
        keeper.update("notes")


def test_what_a_mail_carries_counts_when_too_much_changes_to_be_read(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "MOST_READ_AT_ONCE", 0)
    keeper.write("a.txt", PLAN)
    write_mail(keeper, "letter.eml", "plan.txt")
    settle()
    keeper.add("notes")
    keeper.write("new.txt", "A rope.")
    (keeper.files / "a.txt").unlink()
    settle()
    assert counted(keeper, MENTIONS) == "1 of 2 documents mentions landlord: letter.eml › plan.txt"


def test_a_document_named_beside_its_collection_counts_once(keeper: Keeper) -> None:
    keeper.write("a.txt", "A rope.")
    write_mail(keeper, "letter.eml", "plan.txt")
    settle()
    keeper.add("notes")
    beside = keeper.home / "lease.txt"
    beside.write_text(PLAN, encoding="utf-8")
    library = keeper.open(str(beside), "@notes")
    assert counted(keeper, MENTIONS, beside, "@notes") == "1 of 3 documents mentions landlord: lease.txt"
    assert counted(keeper, MENTIONS.replace("mention", "do not mention"), beside, "@notes") == (
        "2 of 3 documents do not mention landlord: a.txt, letter.eml"
    )
    narrowed = library.narrowed("rope")
    assert narrowed.tokens == keeper.open("@notes").narrowed("rope").tokens


def test_documents_are_said_to_be_in_a_collection_only_where_all_are(keeper: Keeper) -> None:
    keeper.write("a.txt", "A rope.")
    settle()
    keeper.add("notes")
    beside = keeper.home / "talk.txt"
    beside.write_text("A lantern.", encoding="utf-8")
    question = "How many documents are there?"
    assert counted(keeper, question) == "1 document in @notes: a.txt"
    assert counted(keeper, question, beside, "@notes") == "2 documents: talk.txt, a.txt"
