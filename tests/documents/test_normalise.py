"""Normalisation: characters, broken words, paragraphs, and spans that tile the text."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sharedllm_cli.documents.characters import clean, repair
from sharedllm_cli.documents.normalise import normalise

ANYTHING = st.text(st.characters(), max_size=300) | st.text(
    st.sampled_from(list("abcD1 .-\n\r\t\f\x00\x02\xad\xa0\u200b\u2010\ufffe\ufb01\ud800\udc00\u0301é漢 #>*…|_=12")),
    max_size=120,
)


@given(ANYTHING, st.booleans())
@example(".……", False)
@example("…….", True)
@settings(max_examples=300, deadline=None)
def test_cleaning_twice_changes_nothing_more(text: str, layout: bool) -> None:
    once = clean(text, layout=layout)
    assert clean(once, layout=layout) == once
    once.encode("utf-8")
    assert not set(once) & set("\r\x00\ufffe\u200b\xa0\ufb01")


@given(st.lists(ANYTHING, max_size=8), st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=200, deadline=None)
def test_spans_tile_the_text_whatever_the_pages(pages: list[str], running: bool, reflow: bool, layout: bool) -> None:
    found = normalise(pages, running=running, reflow=reflow, layout=layout)
    assert len(found.spans) == len(found.printed_numbers) == len(pages)
    position = 0
    for start, end in found.spans:
        assert start == position
        assert end >= start
        position = end
    assert position == len(found.text)
    found.text.encode("utf-8")


@given(st.lists(ANYTHING, min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_reflow_changes_white_space_and_hyphens_alone(pages: list[str]) -> None:
    def letters(text: str) -> str:
        return "".join(character for character in text if not character.isspace() and character not in "-\xad\u2010")

    assert letters(normalise(pages, running=False).text) == letters("\n".join(clean(page) for page in pages))


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        ("eﬃcient ﬁle, ﬂow, ﬆill", "efficient file, flow, still"),
        ("a\u00a0b\u2009c\u3000d", "a b c d"),
        ("x² and H₂O, ½, ①, ™", "x² and H₂O, ½, ①, ™"),
        ("ＡＢＣ１２３，漢字。", "ABC123，漢字。"),
        ("⼈口", "人口"),
        ("ﻻ", "لا"),
        ("𝑥 = 𝟏", "x = 1"),
        ("e\u0301cole", "école"),
        ("zero\u200bwidth\ufeff and soft\u00adhyphen", "zerowidth and softhyphen"),
        ("\u202eevil\u202c", "evil"),
        ("bell\x07 null\x00 end", "bell null end"),
        ("lone \ud800 surrogate", "lone \ufffd surrogate"),
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("Contents . . . . . . . . . . 45", "Contents ... 45"),
        ("Contents.................45", "Contents ...45"),
        ("{1, 2, . . ., n} and so on...", "{1, 2, . . ., n} and so on..."),
        ("______________", "___"),
        ("\uf0b7 first", "• first"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_characters(raw: str, plain: str) -> None:
    assert clean(raw) == plain


def test_layout_keeps_indentation_and_column_gaps() -> None:
    assert clean("\tif x:\n        y  =    1\n", layout=True) == "    if x:\n        y  =  1"
    assert clean("  a    b  ") == "a b"


def test_surrogate_pairs_become_their_character() -> None:
    assert repair("\ud83d\ude00!") == "😀!"


@pytest.mark.parametrize(
    ("raw", "joined"),
    [
        ("a man of great intel-\nligence came", "a man of great intelligence came"),
        ("a man of great intel\ufffeligence came", "a man of great intelligence came"),
        ("a man of great intel\x02\r\nligence came", "a man of great intelligence came"),
        ("a man of great intel\u00ad\nligence came", "a man of great intelligence came"),
        ("the S and S\ufffePlus environments", "the S and S-Plus environments"),
        ("bugs (see Non-\nMaintainer uploads)", "bugs (see Non-Maintainer uploads)"),
        ("the years 1990-\n1995 were", "the years 1990-1995 were"),
        ("state-of-the-\nart machines", "state-of-the-art machines"),
        ("a self-\ncontained room", "a self-contained room"),
        ("the INTRO-\nDUCTION to it", "the INTRODUCTION to it"),
        ("pre-\nand post-war", "pre- and post-war"),
        ("it was high-\nlevel work, as high-level as any", "it was high-level work, as high-level as any"),
        ("they co-\noperate, we cooperate", "they cooperate, we cooperate"),
        ("Straßen-\nbahn", "Straßenbahn"),
        ("a 12-\nmonth lease", "a 12-month lease"),
        ("the X-\nray of it", "the X-ray of it"),
        ("by e-\nmail only", "by e-mail only"),
        ("in the mid-\n1920s", "in the mid-1920s"),
        ("a COVID-\n19 ward", "a COVID-19 ward"),
        ("of non-\nEU states", "of non-EU states"),
        ("a DNA-\nbased test", "a DNA-based test"),
        ("a PhD-\nstudent", "a PhD-student"),
        ("a 3D-\nprinted cup", "a 3D-printed cup"),
        ("Anna Meyer-\nSchmidt", "Anna Meyer-Schmidt"),
        ("Intel-\nligence came", "Intelligence came"),
        ("at https://harl.example/harbour-\nrules today", "at https://harl.example/harbour-rules today"),
        ("see harbour-\nrules.html for it", "see harbour-rules.html for it"),
        ("from ida-\ncrane@harl.example now", "from ida-crane@harl.example now"),
        ("under www.harl-\nweir.example now", "under www.harl-weir.example now"),
        ("the long-\nterm plan and any long-term plan", "the long-term plan and any long-term plan"),
        ("said intel-\nligence. Then", "said intelligence. Then"),
        ("of train-\ning/testing sets", "of training/testing sets"),
        ("he and/or intel-\nligence", "he and/or intelligence"),
    ],
)
def test_words_broken_at_line_ends(raw: str, joined: str) -> None:
    assert normalise([raw]).text == joined


@pytest.mark.parametrize(
    "raw", ["- one\n- two", "he left –\nand came back", "x = a -\nb", "-----\nafter", "word —\nnext"]
)
def test_dashes_are_not_hyphens(raw: str) -> None:
    assert "".join(normalise([raw]).text.split()).count("-") == "".join(clean(raw).split()).count("-")
    assert "–" not in raw or "–" in normalise([raw]).text


PARAGRAPHS = """\
The first paragraph of this page is set in lines of nearly equal length, and goes
on for three of them before it comes to its end, which is the case in the middle
of a line.
The second paragraph starts here, and since its lines are full as well, they are
joined in the same manner until the end."""


def test_lines_of_a_paragraph_are_joined_and_paragraphs_kept_apart() -> None:
    first, second = normalise([PARAGRAPHS]).text.split("\n")
    assert first.endswith("which is the case in the middle of a line.")
    assert second.startswith("The second paragraph starts here, and since its lines are full as well, they are joined")


def test_code_lists_and_tables_keep_their_lines() -> None:
    code = "> x <- c(1, 2, 3)\n> mean(x)\n[1] 2"
    bullets = "• the first of several things which are told in a list of full lines, one\n• the second of them"
    table = "Austria 113.4 n.a.\nDenmark 123.8 6.4\nFrance 113.4 5.8"
    text = normalise([f"{PARAGRAPHS}\n{code}\n{bullets}\n{table}"]).text
    for block in (code, bullets, table):
        assert f"\n{block}" in text


def test_a_sentence_runs_on_over_the_page_break() -> None:
    pages = [
        PARAGRAPHS + "\nA last sentence of the page is not yet at its end when the page is, and it goes",
        "on here.",
    ]
    found = normalise(pages)
    assert "and it goes on here." in found.text
    assert found.text[slice(*found.spans[1])] == "on here."


def test_a_word_broken_by_the_page_break_is_joined() -> None:
    found = normalise(["The word is hyphen-", "ated over two pages."])
    assert found.text == "The word is hyphenated over two pages."
    assert found.text[slice(*found.spans[1])] == "ated over two pages."


@pytest.mark.parametrize(
    ("raw", "joined"),
    [
        ("The lighthouse3\r\n was built.", "The lighthouse3 was built."),
        ("of lime4\r\n, and the keeper", "of lime4, and the keeper"),
        ("of lime.*\n The keeper", "of lime.* The keeper"),
        ("in: £5,474.00\r\n Total out: £3", "in: £5,474.00\nTotal out: £3"),
        ("in 1904\r\n the keeper", "in 1904\nthe keeper"),
    ],
)
def test_pieces_behind_a_raised_sign_go_on_in_their_line(raw: str, joined: str) -> None:
    assert normalise([raw]).text == joined


def test_pages_that_do_not_run_on_are_apart() -> None:
    assert normalise(["One.", "", "Two."]).text == "One.\n\nTwo."


def test_addresses_broken_at_line_ends_are_whole_again() -> None:
    page = (
        PARAGRAPHS + "\nAll of this may be found at the place where it was put, https://CRAN.R-project.\norg/doc today."
    )
    assert "https://CRAN.R-project.org/doc today." in normalise([page]).text


def test_chinese_lines_are_joined_without_spaces() -> None:
    line = "這是一個很長的句子用來測試換行的處理方式是否正確沒有多餘的空格"
    assert line * 2 in normalise([f"{line}\n{line}\n{line}"]).text


def test_blank_lines_stay_paragraph_breaks() -> None:
    assert normalise(["one\n\n\n\ntwo"]).text == "one\n\ntwo"


def test_code_after_a_full_line_stands_alone() -> None:
    page = (
        PARAGRAPHS
        + "\nTo see what the mean of these observations may be, one has to give the command of\n> mean(observations)"
    )
    assert normalise([page]).text.endswith("\n> mean(observations)")


def test_a_line_that_can_not_end_a_sentence_goes_on_though_it_is_short() -> None:
    lines = [
        "The mill was let to a maker of animal feed for the time of six years,",
        "with all its stones and wheels, so that the lease came to an end",
        "and the term of the whole agreement was over on 30",
        "September 1997. The rent was due in advance, and was to be paid at the",
        "office of the mill, which was open on every day of the week but one.",
    ]
    assert "was over on 30 September 1997." in normalise(["\n".join(lines)]).text


@pytest.mark.parametrize(
    ("before", "after", "word"), [("twenty-", "one years", "twenty-one"), ("ninety-", "ninth", "ninety-ninth")]
)
def test_numbers_in_words_keep_their_hyphen(before: str, after: str, word: str) -> None:
    assert word in normalise([f"The lease of the mill runs for {before}\n{after} and no longer than that."]).text


def test_a_heading_below_a_row_of_cells_is_no_part_of_it() -> None:
    rows = [f"the key {n} moves the cursor over here  and that is what it does there" for n in range(8)]
    text = normalise(["\n".join([*rows, "Motion in the window of the editor", *rows])], layout=True, cells=True).text
    assert "\nMotion in the window of the editor\n" in text
