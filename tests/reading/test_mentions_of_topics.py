"""The sentences that speak of a topic, wherever in a document they stand."""

from __future__ import annotations

import pytest
from open_documents import opened

from sharedllm_cli.reading.sentences import mentions

FILLER = "The wind blows over the island on most days. " * 30
TEXT = (
    f"Candles and lamps\n\nCandles are forbidden on the upper floor. {FILLER}Two lamps hang in the room. {FILLER}"
    f"Whoever leaves a will of his own leaves it with the keeper. Form C-7 asks for the name. {FILLER}"
    "The panels of the wall are of oak."
)


def said(topic: str, text: str = TEXT) -> list[str]:
    return [one.text for one in mentions(topic, [opened([text])], [None])]


@pytest.mark.parametrize(
    ("topic", "sentence"),
    [
        ("candles", "Candles are forbidden on the upper floor."),
        ("candle", "Candles are forbidden on the upper floor."),
        ("lamps", "Two lamps hang in the room."),
        ("will", "Whoever leaves a will of his own leaves it with the keeper."),
        ("form C-7", "Form C-7 asks for the name."),
        ("oak panels", "The panels of the wall are of oak."),
    ],
)
def test_what_stands_there_is_found_in_its_sentence(topic: str, sentence: str) -> None:
    assert said(topic)[0] == sentence


@pytest.mark.parametrize(
    "topic", ["dogs", "solar panels", "form C-8", "candelabra", "ill", "a wind report", "fishing licence"]
)
def test_what_does_not_stand_there_is_not_affirmed(topic: str) -> None:
    assert said(topic) == []


def test_a_heading_stands_back_behind_a_sentence() -> None:
    assert said("candles")[1] == "Candles and lamps"


def test_only_what_may_be_read_is_looked_through() -> None:
    book = opened([FILLER, "Dogs are not landed. "])
    assert mentions("dogs", [book], [[(0, len(FILLER))]]) == []
    assert mentions("dogs", [book], [[(len(FILLER), book.tokens)]])[0].text == "Dogs are not landed."
