"""The page as a reader uses it, in a real browser: skipped where there is no Playwright or no Chromium."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from page_server import Said, Served, serving, wait_for
from pdf_making import make_pdf

from sharedllm_cli.collections.opening import paths_of
from sharedllm_cli.errors import DocumentError

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
sync_api = pytest.importorskip("playwright.sync_api")

HOSTILE = "<img src=x onerror=document.title='broken'>"
LINES = ["The lamp is lit at dusk and put out at dawn.", "The horn sounds in fog."]
QUESTION = "When is the lamp lit?"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's browser, or the one that Playwright has fetched."""
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_api.sync_playwright() as playwright:
        try:
            made = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if root else [])
        except sync_api.Error as problem:
            pytest.skip(f"no browser can be started: {str(problem).splitlines()[0]}")
        yield made
        made.close()


@pytest.fixture
def served(model_folder: Callable[..., Path], private_home: Path, tmp_path: Path) -> Iterator[Served]:
    """A PDF with a page without text, a text, and a text with a hostile name."""
    from io import BytesIO

    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(BytesIO(make_pdf([LINES]))))
    writer.add_blank_page()
    with (tmp_path / "light.pdf").open("wb") as file:
        writer.write(file)
    (tmp_path / "notes.txt").write_text(f"Marten wrote {HOSTILE} of the lamp. The lamp of the harbour is lit at noon.")
    (tmp_path / f"{HOSTILE.replace('/', '')}.txt").write_text("The lamp is lit by hand. " + "The sea is grey. " * 50)
    model = model_folder("llama", max_position_embeddings=8192)
    with serving(model, private_home, sorted(tmp_path.glob("*.*")), said=Said()) as made:
        yield made


@pytest.fixture
def page(browser: Any, served: Served) -> Iterator[Any]:
    """The page, opened; whatever its console says is an error."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    made = context.new_page()
    problems: list[str] = []
    asked: list[str] = []
    made.on("console", lambda message: problems.append(message.text) if _is_fault(message) else None)
    made.on("pageerror", lambda error: problems.append(str(error)))
    made.on("request", lambda request: asked.append(request.url))
    made.goto(f"http://127.0.0.1:{served.port}/")
    made.wait_for_selector("#list li")
    yield made
    assert made.title() == "sharedllm", "what a document says was run"
    assert problems == []
    assert all(address.startswith(f"http://127.0.0.1:{served.port}/") for address in asked)
    context.close()


def _is_fault(message: Any) -> bool:
    """Chromium logs every response of an error, those that a test asks for too."""
    return message.type == "error" and not message.text.startswith("Failed to load resource")


def choose(page: Any, *names: str) -> None:
    page.click("#none")
    for name in names:
        page.get_by_label(name, exact=False).check()


def until(page: Any, true: str, *values: str) -> None:
    """Wait until an expression is true on the page: `wait_for_function` needs eval, which its policy forbids."""
    wait_for(lambda: page.evaluate(true, *values))


def ask(page: Any, question: str = QUESTION) -> Any:
    """Ask with the keyboard; the finished turn."""
    turns = page.locator(".turn").count()
    page.fill("#question", question)
    page.keyboard.press("Enter")
    turn = page.locator(".turn").nth(turns)
    turn.locator(".facts-line, .wrong").first.wait_for(timeout=60_000)
    return turn


def test_a_question_its_answer_and_the_marked_page(page: Any) -> None:
    choose(page, "light.pdf")
    turn = ask(page)
    assert re.sub(r"\d+$", "", turn.locator(".prose").inner_text()) == "The lamp is lit at dusk."
    assert "page 2" in turn.inner_text().lower()
    assert "no text" in turn.inner_text().lower()
    turn.locator(".prose .cite").click()
    until(page, "document.querySelector('#viewer img')?.naturalWidth > 100")
    assert "light.pdf" in page.inner_text("#viewer-title")
    assert "page 1" in page.inner_text("#viewer-title")
    image, pen = page.locator("#viewer img").bounding_box(), page.locator("#viewer .pen").first.bounding_box()
    assert image["x"] < pen["x"] < image["x"] + image["width"]
    assert pen["y"] + pen["height"] < image["y"] + image["height"] / 4, "the line is the first one of the page"
    assert page.evaluate("document.activeElement.id") == "viewer-title"
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()
    assert page.evaluate("document.activeElement.className") == "cite"


def test_a_second_document_and_a_second_question(page: Any, served: Served) -> None:
    choose(page, "light.pdf", "notes.txt")
    ask(page)
    turn = ask(page, "And at noon?")
    assert served.said.questions[1] == ("And at noon?", [(QUESTION, "The lamp is lit at dusk.")])
    assert turn.locator(".strip").count() == 2
    page.locator(".turn").nth(1).locator(".card", has_text="notes.txt").first.evaluate("one => one.click()")
    page.wait_for_selector("#viewer mark")
    assert HOSTILE in page.inner_text("#viewer .around")
    page.click("#fresh")
    assert page.locator(".turn").count() == 0


def test_a_collection_is_one_choice(
    browser: Any, model_folder: Callable[..., Path], private_home: Path, tmp_path: Path
) -> None:
    """It is asked as a whole by its name, and its sources name their documents."""
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(14):
        (folder / f"note {number}.txt").write_text(
            f"Berth {number} belongs to keeper {number}. " + "The sea is grey. " * 9
        )
    (folder / "lamp.txt").write_text("Marten lights the lamp of the harbour at noon. " + "The sea is grey. " * 9)
    model = model_folder("llama", max_position_embeddings=8192)
    arguments = ["collections", "add", "notes", str(folder), "--model", str(model), "--chunk-tokens", "512"]
    environment = {**os.environ, "SHAREDLLM_HOME": str(private_home), "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-m", "sharedllm_cli", *arguments], env=environment, check=True)

    def sets() -> dict[str, list[str]]:
        return {"@notes": paths_of(["@notes"], private_home)}

    with serving(model, private_home, [], said=Said(), sets=sets) as served:
        page = browser.new_page(viewport={"width": 360, "height": 640})
        page.goto(f"http://127.0.0.1:{served.port}/")
        page.wait_for_selector("#list li")
        assert page.locator("#list input:checked").count() == 1
        assert page.get_by_label("@notes").is_checked()
        turn = ask(page, "Who lights the lamp?")
        assert "lamp.txt" in turn.locator(".card").first.inner_text()
        assert "15 documents" in turn.locator(".facts-line").inner_text()
        turn.locator(".card").first.click()
        page.wait_for_selector("#viewer mark")
        assert "Marten" in page.inner_text("#viewer .around")
        assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        page.close()


def test_hostile_names_and_words_are_only_text(page: Any, served: Served) -> None:
    served.said.pieces = [HOSTILE, "<script>document.title='broken'</script>"]
    served.said.changes = {"warnings": [HOSTILE], "answered": False, "reason": HOSTILE}
    turn = ask(page, HOSTILE)
    assert HOSTILE in page.inner_text("#documents") or not page.locator("#documents").get_attribute("open")
    assert turn.locator("h2").inner_text() == HOSTILE
    assert HOSTILE in turn.locator(".prose").inner_text()
    assert turn.locator(".remark", has_text=HOSTILE).count() == 2
    turn.locator(".card", has_text="onerror").first.click()
    page.wait_for_selector("#viewer mark")
    assert "onerror" in page.inner_text("#viewer-title")
    assert page.locator("img[src=x]").count() == 0


def test_an_answer_is_seen_as_it_is_written_and_can_be_stopped(page: Any, served: Served) -> None:
    served.said.pieces, served.said.delay = ["word "] * 5_000, 0.02
    choose(page, "notes.txt")
    page.fill("#question", QUESTION)
    page.keyboard.press("Enter")
    until(page, "document.querySelector('.prose.writing')?.textContent.length > 20")
    assert page.locator("#stop").is_visible()
    assert not page.locator("#send").is_visible()
    page.keyboard.press("Escape")
    page.wait_for_selector(".remark:has-text('Stopped')")
    wait_for(lambda: served.said.closed)
    served.said.pieces, served.said.delay = ["At noon."], 0.0
    assert ask(page).locator(".prose").inner_text().startswith("At noon.")


def test_many_remarks_are_counted_and_opened_by_a_click(page: Any, served: Served) -> None:
    served.said.changes = {"warnings": [f"book.pdf: no text on page {number}" for number in range(3)]}
    remarks = ask(page).locator("details.remark")
    assert remarks.inner_text() == "3 remarks on the documents"
    remarks.locator("summary").click()
    assert remarks.inner_text().split("\n")[-1] == "book.pdf: no text on page 2."


def test_an_error_is_told_in_words(page: Any, served: Served) -> None:
    served.said.error = DocumentError("light.pdf is damaged", hint="get another copy")
    turn = ask(page)
    assert turn.locator("[role=alert]").inner_text().split("\n") == ["light.pdf is damaged.", "", "Get another copy."]
    served.said.error = None
    assert ask(page).locator(".wrong").count() == 0


def test_a_document_is_dropped_in_and_asked(page: Any, tmp_path: Path) -> None:
    page.set_input_files(
        "#file", [{"name": "tides.pdf", "mimeType": "", "buffer": make_pdf([["High water at noon."]])}]
    )
    page.wait_for_selector("#list >> text=tides.pdf")
    assert page.get_by_label("tides.pdf").is_checked()
    choose(page, "tides.pdf")
    turn = ask(page, "When is high water?")
    turn.locator(".card").first.click()
    page.wait_for_selector("#viewer .pen")
    page.evaluate(
        """() => { const files = new DataTransfer(); files.items.add(new File(["x"], "tool.exe"));
        document.dispatchEvent(new DragEvent("drop", {dataTransfer: files, bubbles: true, cancelable: true})); }"""
    )
    page.wait_for_selector("[role=alert] >> text=is not a kind of document")


def test_a_phone_shows_one_thing_at_a_time(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 640})
    choose(page, "light.pdf")
    turn = ask(page)
    too_wide = "document.documentElement.scrollWidth > window.innerWidth"
    assert not page.evaluate(too_wide)
    turn.locator(".card", has_text="light.pdf").first.click()
    until(page, "document.querySelector('#viewer img')?.naturalWidth > 100")
    box = page.locator("#viewer").bounding_box()
    assert (box["x"], box["width"]) == (0, 360)
    assert not page.evaluate(too_wide)
    page.set_viewport_size({"width": 1280, "height": 800})
    until(page, "document.querySelector('#viewer').getBoundingClientRect().left > 300")
    assert page.locator("#question").is_visible()
    page.set_viewport_size({"width": 360, "height": 640})
    page.locator("#close").click()
    assert page.locator("#question").is_visible()


def test_the_keyboard_alone_reaches_everything(page: Any) -> None:
    """From the question: to the answer's sources, into one, to the next one, and back."""
    ask(page)
    assert page.evaluate("document.activeElement.id") == "question"
    seen = []
    for _ in range(40):
        page.keyboard.press("Shift+Tab")
        seen.append(page.evaluate("document.activeElement.className || document.activeElement.id"))
        if seen[-1] == "card":
            break
    assert seen[-1] == "card", seen
    page.keyboard.press("Enter")
    page.wait_for_selector("#viewer .pen, #viewer mark")
    first = page.inner_text("#viewer-title")
    page.keyboard.press("ArrowRight")
    until(page, "text => document.getElementById('viewer-title').innerText !== text", first)
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.className") == "card"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(page: Any, scheme: str) -> None:
    """WCAG's contrast for text, 4.5 to 1, of the page's colours."""
    page.emulate_media(color_scheme=scheme)
    ratio = """([front, back]) => {
      const read = (name) => {
        const probe = document.createElement('span');
        document.body.append(probe);
        probe.style.color = `var(${name})`;
        const parts = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(Number);
        probe.remove();
        const [r, g, b] = parts.map((v) => ((v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const [one, other] = [read(front), read(back)].sort((a, b) => b - a);
      return (one + 0.05) / (other + 0.05);
    }"""
    for front, back in (
        ("--ink", "--paper"), ("--quiet", "--paper"), ("--quiet", "--raised"), ("--accent", "--paper"),
        ("--accent", "--accent-soft"), ("--accent-ink", "--accent"), ("--warn", "--warn-soft"),
        ("--wrong", "--wrong-soft"), ("--ink", "--pen-text"), ("--ink", "--pen-text-strong"),
    ):  # fmt: skip
        assert page.evaluate(ratio, [front, back]) >= 4.5, (front, back)


def test_everything_that_is_pressed_has_a_name(page: Any) -> None:
    turn = ask(page)
    turn.locator(".card").first.click()
    page.wait_for_selector("#viewer .pen, #viewer mark")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, a, input, textarea, dialog, [role=region], progress')]
        .filter((one) => !(one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.length
          || one.getAttribute('aria-labelledby')))
        .map((one) => one.outerHTML)"""
    )
    assert nameless == []
