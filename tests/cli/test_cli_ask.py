"""Transcripts of `ask`: what goes where, and what the exit code says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_engine import Ran, Script, Stream, call, make_source

from sharedllm_cli.answer import OWN_TEXT, SECOND_EXTRACTION, Answer, AnswerSentence, Coverage, NotRead, Timing
from sharedllm_cli.cli.terminal.answers import FIRST_SOURCES, WORDS, excerpt, receive
from sharedllm_cli.cli.terminal.console import Console
from sharedllm_cli.errors import DocumentError

KEYS = {
    "": {"question", "answer", "sources", "coverage", "tree", "answered", "reason"}
    | {"route", "matches", "sentences", "index", "model", "timing", "memory", "warnings", "not_read"},
    "coverage": {"tokens", "tokens_read", "chunks", "pages", "pages_without_text"},
    "tree": {"preserved_nodes", "kept_keys", "ratio", "policy"},
    "index": {"text_hit", "trees_hit", "path", "bytes", "tokens_known"},
    "model": {"base", "adapter", "trained", "reads_tree", "quantize", "device"},
    "timing": {"load_s", "read_s", "index_s", "search_s", "first_token_s", "total_s", "new_tokens", "tokens_per_s"},
    "memory": {"peak_bytes"},
}
SOURCE_KEYS = {"document", "page", "page_label", "quote", "verified", "score", "chunk", "level", "node", "read"} | {
    *("supports", "heading", "checked", "part", "part_title", "place", "columns")
}


@pytest.fixture
def book(tmp_path: Path) -> str:
    path = tmp_path / "book.pdf"
    path.write_text("The lamp is lit at dusk.")
    return str(path)


def test_standard_output_holds_the_answer_alone(book: str) -> None:
    ran = call(Script(), "ask", book, "When is the lamp lit?")
    assert (ran.code, ran.out) == (0, "The lamp is lit at dusk.\n")
    assert "page xii (12)" in ran.err
    assert "“The lamp is lit at dusk and put out at dawn.”" in ran.err
    assert "--tree" not in ran.err


def test_quiet_leaves_only_the_answer(book: str) -> None:
    ran = call(Script(), "ask", book, "When?", "--quiet")
    assert (ran.out, ran.err) == ("The lamp is lit at dusk.\n", "")


def test_quiet_still_warns(book: str) -> None:
    ran = call(Script(changes={"warnings": ["3 old turns were left out"]}), "ask", book, "When?", "-q")
    assert ran.err == "warning: 3 old turns were left out\n"


@pytest.mark.parametrize("flag", ["--stream", "--no-stream"])
def test_streamed_or_not_the_text_is_the_same(book: str, flag: str) -> None:
    assert call(Script(), "ask", book, "When?", flag).out == "The lamp is lit at dusk.\n"


def test_no_sources(book: str) -> None:
    ran = call(Script(), "ask", book, "When?", "--no-sources")
    assert "page" not in ran.err.replace("12 pages", "")


def test_json_is_one_object_with_the_promised_keys(book: str) -> None:
    ran = call(Script(), "ask", book, "When?", "--json")
    found = json.loads(ran.out)
    assert set(found) == KEYS[""]
    for part, keys in KEYS.items():
        if part:
            assert set(found[part]) == keys, part
    assert set(found["sources"][0]) == SOURCE_KEYS
    assert found["answer"] == "The lamp is lit at dusk."
    assert ran.err == ""


def test_unanswered_is_no_failure_and_says_why(book: str) -> None:
    script = Script(
        pieces=("The document does not say.",), changes={"answered": False, "reason": "no passage has “moon”"}
    )
    ran = call(script, "ask", book, "Is the moon lit?")
    assert ran.code == 0
    assert "note: no passage has “moon”\n" in ran.err
    assert "Closest passages" in ran.err
    assert "Sources" not in ran.err, "what answers nothing is no source"


def test_one_bad_document_is_told_and_the_rest_answered(book: str) -> None:
    bad = DocumentError("bad.pdf is damaged", hint="get another copy")
    ran = call(Script(failures=[("bad.pdf", bad)]), "ask", book, "bad.pdf", "When is it?")
    assert (ran.code, ran.out) == (3, "The lamp is lit at dusk.\n")
    assert ran.err.startswith("error: bad.pdf is damaged\nhint: get another copy\n")
    ran = call(Script(failures=[("bad.pdf", bad)]), "ask", book, "bad.pdf", "When is it?", "--json")
    assert (ran.code, json.loads(ran.out)["warnings"]) == (3, ["bad.pdf is damaged"])


def test_sources_name_their_document_when_there_are_several(book: str, tmp_path: Path) -> None:
    other = tmp_path / "other.pdf"
    other.write_text("x")
    assert "book.pdf  page" in call(Script(), "ask", book, str(other), "When?").err
    assert "book.pdf  page" not in call(Script(), "ask", book, "When?").err


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ({"page_label": "xii"}, "page xii (12)  "),
        ({"page_label": "xii", "pages": 40}, "page xii (12 of 40)  "),
        ({"page_label": "12", "pages": 40}, "page 12  "),
        ({"page_label": None}, "page 12  "),
        ({"page_label": ""}, "page 12  "),
        ({"page": 3, "page_label": None, "part": 3, "part_title": "The works"}, "  part 3, The works  "),
        ({"page": 3, "page_label": None, "part": 3}, "  part 3  "),
        ({"page": 3, "page_label": "47", "part": 3, "part_title": "The works"}, "page 47 (part 3, The works)  "),
    ],
)
def test_page_as_printed_and_as_counted(book: str, place: dict[str, Any], shown: str) -> None:
    assert shown in call(Script(changes={"sources": [make_source(**place)]}), "ask", book, "When?").err


def test_a_format_without_pages_names_none(book: str) -> None:
    script = Script(changes={"sources": [make_source(paged=False, page=1, document="notes.md")]})
    err = call(script, "ask", book, "When?").err
    assert "notes.md" in err
    assert "page 1" not in err


@pytest.mark.parametrize(("pages", "told"), [(0, None), (1, "1 page"), (1200, "1,200 pages")])
def test_the_closing_line_counts_pages_where_there_are_any(book: str, pages: int, told: str | None) -> None:
    script = Script(changes={"sources": [], "coverage": Coverage(5000, 1024, 10, pages, [])})
    err = call(script, "ask", book, "When?").err
    assert (f"tokens read · {told} · " in err) if told else ("page" not in err)


@pytest.mark.parametrize(
    ("verified", "checked", "shown"),
    [
        (True, SECOND_EXTRACTION, "quoted word for word"),
        (False, SECOND_EXTRACTION, "not found word for word"),
        (True, OWN_TEXT, "quoted from the text"),
        (False, OWN_TEXT, "not found so in the text"),
    ],
)
def test_word_for_word_is_said_of_what_two_libraries_read(book: str, verified: bool, checked: str, shown: str) -> None:
    changes = {"sources": [make_source(verified=verified, checked=checked)]}
    err = call(Script(changes=changes), "ask", book, "When?").err
    assert f"page xii (12)  {shown}\n" in err
    assert err.count("word for word") == (checked == SECOND_EXTRACTION)


def test_a_source_claims_no_more_than_that_its_quote_stands_there(book: str) -> None:
    err = call(Script(), "ask", book, "When?").err
    assert "page xii (12)  quoted word for word\n" in err
    assert "verified" not in err, "which reads as if the answer were"


def test_a_terminal_is_shown_the_first_sources_and_everything_else_all(book: str) -> None:
    script = Script(changes={"sources": [make_source()] * 8})
    shown = call(script, "ask", book, "When?", terminal=True).err
    assert shown.count("xii") == FIRST_SOURCES == 3
    assert "5 more: --sources shows all" in shown
    for flags in (["-v"], ["--sources"]):
        assert call(script, "ask", book, "When?", *flags, terminal=True).err.count("xii") == 8
    for ran in (call(script, "ask", book, "When?"), call(script, "ask", book, "When?", "--sources", terminal=True)):
        assert ran.err.count("xii") == 8
        assert "more:" not in ran.err
    few = Script(changes={"sources": [make_source()] * 3})
    assert "more:" not in call(few, "ask", book, "When?", terminal=True).err


def test_the_closing_line_tells_a_rate_where_there_is_one(book: str) -> None:
    assert "· 14.5 tokens/s ·" in call(Script(), "ask", book, "When?").err
    for written in (0, 1):
        timing = Timing(first_token_s=1.25, total_s=2.0, new_tokens=written, tokens_per_s=0.0)
        assert "tokens/s" not in call(Script(changes={"timing": timing}), "ask", book, "When?").err


def test_a_long_quote_is_shortened_visibly_and_whole_where_asked_for(book: str) -> None:
    words = " ".join(f"word{number}" for number in range(100))
    script = Script(changes={"sources": [make_source(quote=words)]})
    assert "word44 …”" in call(script, "ask", book, "When?").err
    assert "“… word55" in call(script, "ask", book, "Where is word99?").err
    for flag in ("--verbose", "--sources"):
        assert "word99”" in call(script, "ask", book, "When?", flag).err


def test_what_was_found_and_not_read_stands_last_in_few_words(book: str) -> None:
    words = " ".join(f"word{number}" for number in range(100))
    sources = [make_source(), make_source(page=80, page_label=None, quote=words, read=False, supports=False)]
    drawn = call(Script(changes={"sources": sources}), "ask", book, "When?", terminal=True).err
    assert drawn.count("\x1b[1mpage ") == 2  # in the colour of the text: that of the number does not go on
    err = re.sub(r"\x1b\[[0-9;]*m", "", drawn)
    headings = [line.strip() for line in err.splitlines() if line.strip() in ("Sources", "Also found")]
    assert headings == ["Sources", "Also found"]
    (line,) = [line for line in err.splitlines() if "page 80" in line]
    assert err.index("Also found") < err.index("page 80")
    assert "word0 word1" in line
    assert len(line) <= 80
    only = call(Script(changes={"sources": sources[:1]}), "ask", book, "When?").err
    assert "Also found" not in only


def test_the_words_asked_for_stand_within_what_is_shown() -> None:
    words = [f"filler{number}" for number in range(200)]
    words[120] = "extinguished,"
    shown = excerpt(" ".join(words), "When is it extinguished?", "")
    assert [word for word, wanted in zip(shown.words, shown.wanted, strict=True) if wanted] == ["extinguished,"]
    assert len(shown.words) == WORDS
    assert shown.words[WORDS // 2] == "extinguished,"
    assert (shown.cut_before, shown.cut_after) == (True, True)


@pytest.mark.parametrize("place", [0, 1, 60, 198, 199])
def test_an_excerpt_never_leaves_the_quote(place: int) -> None:
    words = ["filler"] * 200
    words[place] = "lighthouse"
    shown = excerpt(" ".join(words), "lighthouses")
    assert len(shown.words) == WORDS
    assert sum(shown.wanted) == 1


def test_pages_without_text_are_named(book: str) -> None:
    err = call(Script(changes={"coverage": Coverage(5000, 1024, 10, 12, [4, 7, 8, 9])}), "ask", book, "When?").err
    assert "without text: pages 4, 7–9" in err


def test_pages_and_reindex_arrive(book: str) -> None:
    script = Script()
    call(script, "ask", book, "When?", "--pages", "3-9", "--reindex")
    assert script.calls == [("open", ([book], True)), ("ask", ("When?", [], "3-9"))]


@pytest.mark.parametrize("pages", ["9-3", "0-2", "-3", "3-", "", "1,", "1,9-3", "9" * 5000, "counted:x", "..", "1\n2"])
def test_pages_that_are_no_range(book: str, pages: str) -> None:
    ran = call(Script(), "ask", book, "When?", f"--pages={pages}")
    assert ran.code == 2
    assert ran.err.startswith("error: --pages")
    assert ran.err.count("\n") == 2


def test_what_a_folder_holds_besides_is_listed_whole(book: str) -> None:
    files = [NotRead(f"{number}.docx", f"club/{number}.docx", "Word") for number in range(9)]
    ran = call(Script(changes={"not_read": files}), "ask", book, "When?", "--json")
    assert json.loads(ran.out)["not_read"][8] == {"name": "8.docx", "path": "club/8.docx", "kind": "Word"}


def usage_mistake(ran: Ran) -> str:
    assert ran.code == 2
    assert ran.out == ""
    error, hint, end = ran.err.split("\n")
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    assert end == ""
    return ran.err


def test_no_question(book: str) -> None:
    assert "no question given" in usage_mistake(call(Script(), "ask", book))
    assert "no question given" in usage_mistake(call(Script(), "ask", book, book))
    assert "no document given" in usage_mistake(call(Script(), "ask", "When is the lamp lit?"))
    for empty in ("  ", ""):
        assert "the question is empty" in usage_mistake(call(Script(), "ask", book, empty))
    assert 'sharedllm ask book.pdf "' in usage_mistake(call(Script(), "ask", book))


def test_a_question_that_lost_its_quotes(book: str) -> None:
    error = usage_mistake(call(Script(), "ask", book, "when", "is", "it", "lit?"))
    assert f'sharedllm ask {book} "when is it lit?"' in error
    assert "no document given" in usage_mistake(call(Script(), "ask", "when", "is", "it", "lit?"))


def test_the_engine_s_generator_is_closed_when_showing_its_text_fails() -> None:
    state = []

    def pieces() -> Iterator[str | Answer]:
        try:
            yield "The lamp"
        finally:
            state.append("closed")

    class Broken(Stream):
        def write(self, text: str) -> int:
            raise KeyboardInterrupt

    held = pieces()
    with pytest.raises(KeyboardInterrupt):
        receive(Console(Broken(terminal=False), Stream(terminal=False)), held, show=True, stream=True)
    assert state == ["closed"]


def test_whole_sentences_are_shown_and_no_heading_at_their_edges() -> None:
    hail = "Sheep stand in the porch during hail."
    quote = f"The roof\n\nIt leaks. {' '.join([hail] * 4)} Bats live under the shingles.\n\nLight"
    shown = excerpt(quote, "What of the bats?", most=20)
    assert " ".join(shown.words) == f"{hail} {hail} Bats live under the shingles."
    assert (shown.cut_before, shown.cut_after) == (True, True)


def test_all_that_was_found_for_a_list_is_shown_at_a_terminal(book: str) -> None:
    sources = [make_source(page=page, page_label=None) for page in range(1, 12)]
    err = call(Script(changes={"sources": sources, "matches": 11}), "ask", book, "List all?", terminal=True).err
    assert all(f"page {page}" in err for page in range(1, 12))
    assert "more:" not in err


SENTENCES = [AnswerSentence("It is lit at dusk.", [1], []), AnswerSentence("It has 9 wicks.", [], ["9"])]
MARKED = ["It is lit", " at dusk.", SENTENCES[0], " It has 9 wicks.", SENTENCES[1]]


@pytest.mark.parametrize("flags", [(), ("--no-stream",)])
def test_each_of_several_sentences_has_the_numbers_of_its_sources(book: str, flags: tuple[str, ...]) -> None:
    script = Script(pieces=MARKED, changes={"sentences": SENTENCES})
    assert call(script, "ask", book, "When?", *flags).out == "It is lit at dusk. [1] It has 9 wicks. [?]\n"


@pytest.mark.parametrize("flag", ["--no-sources", "--quiet"])
def test_without_sources_there_are_no_marks(book: str, flag: str) -> None:
    script = Script(pieces=MARKED, changes={"sentences": SENTENCES})
    assert call(script, "ask", book, "When?", flag).out == "It is lit at dusk. It has 9 wicks.\n"


def test_a_source_that_a_sentence_names_is_shown_at_a_terminal(book: str) -> None:
    sources = [make_source(page=page, page_label=None) for page in range(1, 7)]
    sentences = [AnswerSentence("It is lit.", [1], []), AnswerSentence("It is put out.", [5], [])]
    err = call(Script(changes={"sources": sources, "sentences": sentences}), "ask", book, "When?", terminal=True).err
    assert "page 5" in err
    assert "page 6" not in err


def test_a_source_has_its_heading(book: str) -> None:
    err = call(Script(changes={"sources": [make_source(heading="2.1 The lamp")]}), "ask", book, "When?").err
    assert "quoted word for word  2.1 The lamp\n" in err


def test_a_section_arrives_where_it_acts(book: str) -> None:
    script = Script()
    assert call(script, "ask", book, "When?", "--section", "4.2").code == 0
    assert ("section", "4.2") in script.calls
