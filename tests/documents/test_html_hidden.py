"""What of an HTML page is for its reader: menus and hidden parts are not, unless they are the page's text itself."""

from __future__ import annotations

import pytest

from sharedllm_cli.documents.markup.html_reader import from_html

PROSE = " ".join(f"The pan number {number} is hot." for number in range(12))
MENU = "<ul><li><a href='/a'>Home page</a><li><a href='/b'>About us</a></ul>"


def text_of(source: str) -> str:
    return from_html(source).text


@pytest.mark.parametrize(
    "page",
    [
        f"<nav>{MENU}<p>{PROSE}</p>",
        f"<nav>{MENU}<div><nav>{MENU}<h1>Pans</h1><p>{PROSE}</p></div>",
        f"<body style='display: none'>{MENU}<p>{PROSE}</p></body>",
        f"<div hidden><div style='visibility:hidden'><p>{PROSE}</p></div></div><p>Please wait.</p>",
        f"<nav>{MENU}</nav><div role=navigation><p>{PROSE}</p></div>",
        f"<noscript><p>{PROSE}</p></noscript><footer>Ann Bee</footer>",
        "<div style='display:none'>Hot pans.</div>",
    ],
)
def test_a_hidden_element_with_nearly_all_words_is_the_page(page: str) -> None:
    assert ("Hot pans." if "Hot pans." in page else PROSE) in text_of(page)


def test_a_menu_does_not_come_back_with_it() -> None:
    assert text_of(f"<nav>{MENU}<p>{PROSE}</p><ol><li>One <a href=x>two</a></ol>") == f"{PROSE}\n\n1. One two"


@pytest.mark.parametrize(
    "hidden",
    [
        f"<nav>{MENU * 40}</nav>",
        f"<div style='display:none'>{PROSE}</div>",
        f"<noscript>{PROSE}</noscript>",
        f"<div class='cookie-consent' hidden>{PROSE * 9}</div>",
        f"<dialog>{PROSE * 9}</dialog>",
        f"<template>{PROSE * 9}</template>",
        f"<script>{PROSE * 9}</script>",
        "<select hidden><option>one</select><datalist><option>two</datalist>",
        "<button>Buy now</button>",
    ],
)
def test_what_is_hidden_stays_so(hidden: str) -> None:
    assert text_of(f"{hidden}<h1>Pots</h1><p>Pots are deep. {'They hold soup. ' * 9}</p>").startswith(
        "Pots\n\nPots are"
    )
    assert "pan" not in text_of(f"{hidden}<h1>Pots</h1><p>Pots are deep. {'They hold soup. ' * 9}</p>")


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<h3><button>How hot?</button></h3><p>Very.</p>", "How hot?\n\nVery."),
        ("<button aria-expanded=false>How hot is it?</button><p>Very.</p>", "How hot is it?\n\nVery."),
        ("<dialog open>Hot.</dialog>", "Hot."),
        ("<template shadowrootmode=open><p>Hot.</p></template>", "Hot."),
        ("<p hidden=until-found>Hot.</p>", "Hot."),
        ("<p aria-hidden=true>Hot.</p>", "Hot."),
        ("<input type=radio checked>A<input type=radio>B", "[x] A [ ] B"),
        ("<textarea>one\n two</textarea>", "one\n two"),
        ("<xmp><b>one</b>\n two</xmp>", "<b>one</b>\n two"),
        ("<video>one</video><audio>two</audio>", "one\ntwo"),
    ],
)
def test_what_a_reader_sees(page: str, text: str) -> None:
    assert text_of(page) == text
