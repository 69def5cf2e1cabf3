"""Which sources the sentences of an answer rest on: numbered in order of first use, whatever the pieces."""

from __future__ import annotations

import pytest

from sharedllm_cli.answer import AnswerSentence, Source
from sharedllm_cli.generation.grounding import Citations

QUOTES = [
    "The kiln is lit at dawn and burns for three days.",
    "Glaze of wood ash is brushed on when the pots are dry.",
    "Visitors pay four francs at the gate, which opens at nine.",
]


def _source(number: int, quote: str, *, read: bool = True) -> Source:
    return Source("pottery.txt", number, None, quote, True, 1.0, 0, 3, number, read=read)


SOURCES = [_source(number, quote) for number, quote in enumerate(QUOTES, 1)]


def _written(pieces: list[str], sources: list[Source] = SOURCES) -> tuple[Citations, list[str | AnswerSentence]]:
    citations = Citations(sources, "\n".join(source.quote for source in sources), "How are the pots made?")
    out = [item for piece in pieces for item in citations.push(piece)]
    return citations, [*out, *citations.finish()]


def _marked(items: list[str | AnswerSentence]) -> str:
    return "".join(item if isinstance(item, str) else item.mark for item in items)


ANSWER = "The glaze of ash is brushed on dry pots. Then the kiln burns for three days. Ask at the gate before nine."


@pytest.mark.parametrize("size", [1, 2, 5, 17, 500])
def test_marks_stand_behind_their_sentences_however_the_text_comes(size: int) -> None:
    citations, items = _written([ANSWER[at : at + size] for at in range(0, len(ANSWER), size)])
    assert _marked(items) == (
        "The glaze of ash is brushed on dry pots.[1] Then the kiln burns for three days.[2] "
        "Ask at the gate before nine.[3]"
    )
    assert "".join(item for item in items if isinstance(item, str)) == ANSWER
    assert [sentence.sources for sentence in citations.sentences] == [[1], [2], [3]]
    assert [source.page for source in citations.arranged(SOURCES)] == [2, 1, 3]


def test_steps_of_a_list_have_their_marks_before_the_line_end() -> None:
    text = "1. Brush the ash glaze on the dry pots.\n2. Light the kiln at dawn."
    _, items = _written([text[at : at + 3] for at in range(0, len(text), 3)])
    assert _marked(items) == "1. Brush the ash glaze on the dry pots.[1]\n2. Light the kiln at dawn.[2]"


def test_a_single_sentence_has_no_mark_but_is_among_the_sentences() -> None:
    citations, items = _written(["At dawn the kiln ", "is lit."])
    assert items == ["At dawn the kiln", " is lit."]
    assert [sentence.sources for sentence in citations.sentences] == [[1]]
    assert not citations.cites


def test_a_name_or_number_that_the_passages_lack_is_marked_in_its_sentence_alone() -> None:
    citations, items = _written(["The kiln burns for three days. It was built by Ottilie Krantz in 1911."])
    assert citations.sentences[0].unsupported == []
    assert set(citations.sentences[1].unsupported) >= {"Ottilie", "Krantz", "1911"}
    assert _marked(items).endswith("in 1911.[?]")


def test_yes_claims_nothing_that_passages_could_lack() -> None:
    _, items = _written(["Yes. The kiln burns for three days.\n"])
    assert _marked(items) == "Yes. The kiln burns for three days.[1]"


def test_a_sentence_of_two_sources_names_both() -> None:
    citations, _ = _written(["The kiln is lit at dawn and burns three days, and visitors pay four francs at the gate."])
    assert citations.sentences[0].sources == [1, 2]
    assert [source.page for source in citations.arranged(SOURCES)] == [1, 3, 2]


def test_what_was_only_found_is_never_cited() -> None:
    found = [_source(1, QUOTES[0], read=False), _source(2, QUOTES[1])]
    citations, _ = _written(["The kiln is lit at dawn. It burns for three days."], found)
    assert [sentence.sources for sentence in citations.sentences] == [[], []]
    assert not citations.cites


def test_the_sources_that_are_cited_support_the_answer_and_the_others_do_not() -> None:
    citations, _ = _written(["Ash glaze is brushed on dry pots. Visitors pay four francs."])
    assert citations.cites
    assert [(source.page, source.supports) for source in citations.arranged(SOURCES)] == [
        (2, True),
        (3, True),
        (1, False),
    ]
