"""Which questions are counted or listed by code, and which are not; dates in texts."""

from __future__ import annotations

import pytest

from sharedllm_cli.answering.dates import dates_in, years_in
from sharedllm_cli.answering.routing import may_ask_for_a_tally
from sharedllm_cli.answering.tally_wording import Counted, TallyAsked, tally_asked

D, M, S = Counted.DOCUMENTS, Counted.MENTIONS, Counted.SENTENCES


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Which invoices mention copper pipe?", TallyAsked(D, topic="copper pipe")),
        ("how many of my notes talk about the garden", TallyAsked(D, number=True, topic="garden")),
        ("In what documents does the phrase dead reckoning appear?", TallyAsked(D, topic="dead reckoning")),
        ("Please list the files that don't mention insurance.", TallyAsked(D, topic="insurance", absent=True)),
        ("Which contracts contain the word “penalty”?", TallyAsked(D, topic="“penalty”")),
        ("Which manuals have a chapter on safety?", TallyAsked(D, heading="safety")),
        (
            "How often is Marten Rook mentioned in log.txt?",
            TallyAsked(M, number=True, topic="Marten Rook", scope="log.txt"),
        ),
        ("How many times do the reports mention the dam?", TallyAsked(M, number=True, topic="dam")),
        ("Show all mentions of the dam across @rivers", TallyAsked(M, topic="dam")),
        ("How many passages are about the dam?", TallyAsked(S, number=True, topic="dam")),
        ("How many sections are in manual.pdf?", TallyAsked(Counted.CHAPTERS, number=True, scope="manual.pdf")),
        ("List the headings of manual.pdf", TallyAsked(Counted.HEADINGS, scope="manual.pdf")),
        ("How many pdfs do I have?", TallyAsked(D, number=True)),
        ("How many pages are there in total?", TallyAsked(Counted.PAGES, number=True)),
        ("Which report is the shortest?", TallyAsked(Counted.LONGEST, least=True)),
        ("What is the oldest date in the letters?", TallyAsked(Counted.DATES, end="first")),
    ],
)
def test_what_is_counted(question: str, expected: TallyAsked) -> None:
    assert may_ask_for_a_tally(question)
    assert tally_asked(question) == expected


@pytest.mark.parametrize(
    "question",
    [
        "How many days of leave do staff have a year?",
        "Which documents are needed for a passport?",
        "How many times did he marry?",
        "How many letters did he write?",
        "How many files can be uploaded at once?",
        "What is the date of the meeting?",
        "Which section covers vacation?",
        "How many pages did she write?",
        "What are the opening hours?",
        "Which trees are protected in the park?",
        "List the ingredients of the bread.",
        "How often is the filter changed?",
        "How many people are mentioned?",
    ],
)
def test_what_the_texts_answer_is_not_counted(question: str) -> None:
    assert tally_asked(question) is None


def test_hostile_wording_ends() -> None:
    for start in ("how many ", "which documents ", "in which files is ", "list all of the "):
        for again in ("mention the ", "in ", "documents that have ", "the these my ", "dates in "):
            tally_asked((start + again * 200)[:299])  # a rule that backtracks without end takes hours
            assert tally_asked(start + again * 20_000) is None


def test_dates_of_many_forms() -> None:
    text = (
        "On 3 June 1998, on June 4th, 1998 and on 1998-06-05; am 6. Juni 1998, le 7 juin 1998, el 8 de junio de 1998, "
        "on 9.6.1998. Not on 31/2/98, version 10.6.1998.2 or room 1998-06-99."
    )
    assert [found.when for found in dates_in(text)] == [(1998, 6, day) for day in range(3, 10)]
    assert [found.text for found in dates_in(text)][:2] == ["3 June 1998", "June 4th, 1998"]


def test_years_stand_alone() -> None:
    text = "Built in 1871, again in 1998. Not 12345, 3,1998 metres, A1998, 1871.5 or no. 0999."
    assert [found.year for found in years_in(text)] == [1871, 1998]
