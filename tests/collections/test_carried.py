"""What mails and portfolios carry, what can't be read, and what is no longer there: nothing of it goes unsaid."""

from __future__ import annotations

from email.message import EmailMessage
from pathlib import Path

import pytest
from keeping import Keeper, age
from office_making import pptx, shape
from test_updating import settle

from sharedllm_cli.answering.tallies import Tallies
from sharedllm_cli.answering.tally_wording import tally_asked
from sharedllm_cli.collections.names import checked_name
from sharedllm_cli.collections.opening import paths_of
from sharedllm_cli.engine import Engine
from sharedllm_cli.errors import DocumentError, UsageError

PLAN = "The plan of the harbour: the quay is to be raised by two feet.\n"


def mail(path: Path, **attachments: str) -> Path:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "The plan", "a@example.org", "b@example.org"
    message.set_content("Here is the plan that we spoke of, with the quay.")
    for name, text in attachments.items():
        message.add_attachment(text.encode(), maintype="text", subtype="plain", filename=f"{name}.txt")
    path.write_bytes(message.as_bytes())
    age(path)
    return path


def test_a_file_that_is_gone_but_is_carried_by_a_mail_is_said_to_be(keeper: Keeper) -> None:
    plan = keeper.write("plan.txt", PLAN)
    mail(keeper.files / "letter.eml", plan=PLAN)
    settle()
    keeper.add("notes")
    plan.unlink()
    found, warnings = keeper.search("quay raised")
    assert "letter.eml › plan.txt" in found
    assert "plan.txt is no longer there; letter.eml has the same content" in warnings
    assert not any("nothing of it is used" in one for one in warnings)


def test_a_file_that_is_gone_is_not_used(keeper: Keeper) -> None:
    plan = keeper.write("plan.txt", PLAN)
    keeper.write("other.txt", "Of the quay nothing is known here.")
    settle()
    keeper.add("notes")
    plan.unlink()
    found, warnings = keeper.search("quay raised")
    assert found == ["other.txt"]
    assert "plan.txt is no longer there, and nothing of it is used" in warnings


def test_files_that_could_not_be_read_are_told_by_plan_and_index(keeper: Keeper) -> None:
    keeper.write("plan.txt", PLAN)
    (keeper.files / "broken.pdf").write_bytes(b"%PDF-1.4\nnothing of a PDF\n")
    age(keeper.files / "broken.pdf")
    settle()
    keeper.add("notes")
    assert sorted(Path(path).name for path in paths_of(["@notes"], keeper.home)) == ["broken.pdf", "plan.txt"]
    engine = Engine(keeper.settings, home=keeper.home)
    rows, failures = engine.plan(["@notes"])
    assert [row.name for row in rows] == ["plan.txt"]
    assert [name for name, _ in failures] == ["broken.pdf"]
    outcomes, failures = engine.index(["@notes"])
    assert [one.name for one in outcomes] == ["plan.txt"]
    assert [name for name, _ in failures] == ["broken.pdf"]


def test_a_plan_counts_what_a_mail_carries(keeper: Keeper) -> None:
    letter = mail(keeper.files / "letter.eml", plan=PLAN, other="Another text of the quay.")
    engine = Engine(keeper.settings, home=keeper.home)
    rows, failures = engine.plan([str(letter)])
    assert failures == []
    assert [row.name for row in rows] == ["letter.eml", "letter.eml › plan.txt", "letter.eml › other.txt"]
    assert {one.name: one.tokens for one in engine.index([str(letter)])[0]} == {row.name: row.tokens for row in rows}


def test_documents_of_one_name_have_a_row_each(keeper: Keeper) -> None:
    one = keeper.write("a/report.md", "The quay is of stone. The quay is old.")
    other = keeper.write("b/report.md", "The quay is new.")
    settle()
    keeper.add("first", one.parent)
    keeper.add("second", other.parent)
    asked = tally_asked("How often is the quay mentioned?")
    assert asked is not None
    tally = Tallies(keeper.open("@first", "@second")).answer(asked)
    assert tally is not None
    assert tally.count == 3
    assert f"report.md ({one.parent}) 2, report.md ({other.parent}) 1" in tally.text


def test_the_name_of_a_collection_may_not_be_empty() -> None:
    with pytest.raises(UsageError, match="the name of a collection is missing"):
        checked_name("@")


def test_the_only_leaf_that_is_open_is_found(keeper: Keeper) -> None:
    keeper.write("oar.txt", "oar ash")
    keeper.write("plan.txt", PLAN)
    settle()
    keeper.add("notes")
    assert keeper.search("oar ash")[0] == ["oar.txt"]


def test_a_collection_whose_disk_is_not_there_says_so(keeper: Keeper) -> None:
    keeper.write("plan.txt", PLAN)
    settle()
    keeper.add("notes")
    away = keeper.files.with_name("away")
    keeper.files.rename(away)
    with pytest.raises(DocumentError, match="nothing of @notes is there now"):
        keeper.search("quay")
    away.rename(keeper.files)
    assert keeper.search("quay")[0] == ["plan.txt"]


def test_slides_and_sheets_are_counted(keeper: Keeper) -> None:
    for name, count in (("talk.pptx", 3), ("short.pptx", 1)):
        slides = [shape(f"The quay, part {number} of {name}.") for number in range(1, count + 1)]
        (keeper.files / name).write_bytes(pptx(slides))
        age(keeper.files / name)
    keeper.write("notes.txt", "The quay is of stone.")
    settle()
    keeper.add("notes")
    library = keeper.open("@notes")
    for question, count, held in (
        ("How many slides does talk.pptx have?", 3, "3 slides in 1 document: talk.pptx 3"),
        ("How many slides are there?", 4, "talk.pptx 3"),
        ("How many sheets are there?", 0, "3 documents without sheets."),
    ):
        asked = tally_asked(question)
        assert asked is not None
        tally = Tallies(library).answer(asked)
        assert tally is not None
        assert tally.count == count
        assert held in tally.text


def test_a_copied_mail_is_warned_of_by_its_own_name(keeper: Keeper) -> None:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "The quay", "a@example.org", "b@example.org"
    message.set_content("Here is a picture of the quay.")
    message.add_attachment(b"no picture", maintype="image", subtype="png", filename="quay.png")
    letter = keeper.files / "letter.eml"
    letter.write_bytes(message.as_bytes())
    first = Engine(keeper.settings, home=keeper.home).open([str(letter)]).warnings
    letter.rename(keeper.files / "copied.eml")
    second = Engine(keeper.settings, home=keeper.home).open([str(keeper.files / "copied.eml")]).warnings
    assert any("letter.eml" in warning for warning in first)
    assert second == [warning.replace("letter.eml", "copied.eml") for warning in first]
