"""Laws of the plain checks on an answer: conservative, and silent about words that only changed their form."""

from __future__ import annotations

import pytest

from sharedllm_cli.generation.grounding import assess, unsupported_words
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT, Turn
from sharedllm_cli.generation.refusal import as_model_says, not_found, says_not_in_document

EVIDENCE = (
    "In 1066 William crossed the Channel with three ships and 1,024 men. He decided to take Hastings; "
    "the café was open. Use read.table() to load it, said O'Brien."
)


@pytest.mark.parametrize(
    "answer",
    [
        NOT_IN_DOCUMENT,
        NOT_IN_DOCUMENT.rstrip(".").upper(),
        f'"{NOT_IN_DOCUMENT}"',
        f"{NOT_IN_DOCUMENT} However, it may be 5.",
        "The document doesn't say.",
        "The passages do not mention it.",
        "The text does not say who killed him.",
        "I'm sorry, but the provided information does not specify when.",
        "The answer is not in the document.",
        "The document does not contain a specific answer to this question. It does not mention the name.",
        "The text does not provide enough information to tell. It names the king.",
    ],
)
def test_the_agreed_sentence_and_its_plain_variants_are_a_refusal(answer: str) -> None:
    assert says_not_in_document(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "William.",
        "The king does not say.",
        "He told them that the document does not say.",
        "The passage does not mention a ban, but fines are 5 pounds.",
        "The document does not say who, but the king did it.",
        "The document does not provide an answer to the first question, but the second is 5.",
        "The document says that smoking is not allowed.",
        "The text does not mention smoking bans in cities.",
    ],
)
def test_an_answer_about_what_is_not_there_is_no_refusal(answer: str) -> None:
    assert not says_not_in_document(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "1066",
        "in 1066, with 1024 men",
        "3 ships",
        "THREE SHIPS",
        "the Cafe",
        "William's decision to cross",
        "He uses read.table.",
        "O'Brien",
        "",
    ],
)
def test_words_of_the_evidence_in_another_form_are_supported(answer: str) -> None:
    assert unsupported_words(answer, EVIDENCE) == []


@pytest.mark.parametrize(
    ("answer", "unsupported"),
    [
        ("in 1067", ["1067"]),
        ("William crossed the Channel with Harald.", ["Harald"]),
        ("he took Hastingsford with three ships, and Harald and Harald", ["Hastingsford", "Harald"]),
        ("Use read_csv to load it.", ["read_csv"]),
        ("He decided to take three ships and a sandwich.", []),
        ("Photosynthesis makes oxygen", ["Photosynthesis", "makes", "oxygen"]),
    ],
)
def test_numbers_names_and_identifiers_are_told_other_words_only_when_they_are_most(
    answer: str, unsupported: list[str]
) -> None:
    assert unsupported_words(answer, EVIDENCE) == unsupported


def test_a_name_of_the_question_is_no_claim_of_the_answer() -> None:
    assert unsupported_words("It was Harald in 1066.", EVIDENCE) == ["Harald"]
    assert unsupported_words("It was Harald in 1066.", EVIDENCE, question="Did Harald win?") == []


def test_words_of_an_answer_about_itself_are_no_claim() -> None:
    assert unsupported_words("The answer to the question is: 1.50.", EVIDENCE) == ["1.50"]


def test_scripts_without_spaces_are_not_told_as_one_long_word() -> None:
    evidence = "北京是中国的首都。"
    assert unsupported_words("首都是北京。", evidence) == []
    assert unsupported_words("東京都庁", evidence) == ["東京都庁"]


def test_an_empty_answer_and_a_refusal_are_not_answered() -> None:
    assert assess({"king"}, {"king"}, " \n").reason == "the model gave no answer"
    refused = assess({"king"}, {"king"}, NOT_IN_DOCUMENT, evidence_text=EVIDENCE)
    assert not refused.answered
    assert refused.reason


def test_an_answer_that_is_announced_and_not_given_is_none() -> None:
    verdict = assess({"king"}, {"king"}, "The answer to this question is:", finish="repetition")
    assert verdict.reason == "the model announced an answer and gave none"
    assert assess({"king"}, {"king"}, "The answer to this question is: William").answered
    assert assess({"king"}, {"king"}, "The answer to this question is:\n\nWilliam").answered


def test_a_list_that_is_announced_and_not_given_is_no_answer() -> None:
    assert not assess([], set(), "The main points are:").answered
    assert assess([], set(), "The main points are: lamps.").answered
    assert assess([], set(), "type :wq:").answered


def test_the_question_again_is_no_answer() -> None:
    question = "Who was the king?"
    echo = "Question: Who was the king?\nAnswer: Who was the king?\n\nQuestion:"
    assert assess(["king"], {"king"}, echo, question=question).reason == (
        "the model repeated the question and gave no answer"
    )
    assert assess(["king"], {"king"}, "Question: Who was the king?\nAnswer: William", question=question).answered


def test_a_question_none_of_whose_words_occur_is_not_answered_and_names_them() -> None:
    verdict = assess(["president", "Mars"], set(), "William.", question="Who was the president of Mars?")
    assert not verdict.answered
    assert verdict.reason is not None
    assert "president, Mars" in verdict.reason


def test_a_question_without_content_terms_is_not_held_against_the_answer() -> None:
    assert assess(set(), set(), "William.").answered


def test_an_answer_keeps_its_warnings() -> None:
    verdict = assess(
        ["William", "reach", "Mars"],
        {"William", "reach"},
        "In 1067 he",
        question="When did William reach Mars?",
        evidence_text=EVIDENCE,
        finish="length",
    )
    assert verdict.answered
    assert [warning.rpartition(": ")[2] for warning in verdict.warnings[1:]] == ["Mars", "1067"]
    assert "--max-new-tokens" in verdict.warnings[0]


def test_words_of_the_question_that_only_ask_or_stand_in_another_form_are_not_warned_of() -> None:
    asked, held = ["Many", "long", "turns", "fully", "Mars"], ["turns"]
    question = "How Many turns, and how long, until it is fully wound on Mars?"
    verdict = assess(asked, held, "1066", question=question, other_forms={"fully"})
    assert verdict.warnings == ("words of the question that the documents do not hold: Mars",)
    for name in ("Napoleon", "copper"):
        asked = f"Tell me how {name} turns."
        assert name in assess([name, "turns"], ["turns"], "1066", question=asked).warnings[0]
    assert "long" in assess(["long", "x"], ["x"], "1066", question="Was x long, and how?").warnings[0]


def test_words_that_ask_and_names_of_the_document_are_not_warned_of() -> None:
    asked = ["x", "handbook", "mention", "list", "say", "Napoleon"]
    told = assess(asked, ["x"], "1066", question="x: does the handbook list or say Napoleon?").warnings
    assert told == ("words of the question that the documents do not hold: Napoleon",)


def test_what_was_not_found_is_a_refusal_that_says_what_was_read() -> None:
    assert not_found(1382, 10648) == "Not found in the passages read (1,382 of 10,648 tokens)."
    assert says_not_in_document(not_found(1, 2))
    turns = [Turn("Who?", not_found(1, 2)), Turn("When?", "1066")]
    assert [turn.answer for turn in as_model_says(turns)] == [NOT_IN_DOCUMENT, "1066"]
    check = assess({"king"}, {"king"}, not_found(1, 2), read="the document, which it has read whole")
    assert check.reason == "the model finds no answer in the document, which it has read whole"


def test_a_sound_answer_has_no_warning() -> None:
    verdict = assess(["William"], {"William"}, "In 1066.", question="When did William cross?", evidence_text=EVIDENCE)
    assert verdict == type(verdict)(True, None, ())


def test_without_passages_nothing_is_said_about_them() -> None:
    assert assess(["William"], {"William"}, "In 1067.", question="When, William?").warnings == ()
