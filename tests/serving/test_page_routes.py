"""What the page's script asks for: documents, an answer as it is written, and its sources as they are seen."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from page_server import Said, Served, serving, wait_for
from pdf_making import make_pdf, rewritten

from sharedllm_cli.errors import DocumentError
from sharedllm_cli.serving.uploads import Uploads, clean_name

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

LINES = ["The lamp is lit at dusk and put out at dawn.", "The horn sounds in fog.", "Anna rows to the island."]
QUESTION = "When is the lamp lit?"


@pytest.fixture
def served(model_folder: Callable[..., Path], private_home: Path, tmp_path: Path) -> Iterator[Served]:
    """A PDF and a text are granted, a third file beside them is not."""
    (tmp_path / "light.pdf").write_bytes(make_pdf([LINES, ["The store is cold."] * 20]))
    (tmp_path / "notes.txt").write_text("The lamp of the harbour is lit at noon. " + "The sea is grey. " * 60)
    (tmp_path / "secret.txt").write_text("The lamp is lit by nobody.")
    model = model_folder("llama", max_position_embeddings=8192)
    with serving(model, private_home, [tmp_path / "light.pdf", tmp_path / "notes.txt"]) as made:
        yield made


def answer_of(events: list[tuple[str, Any]]) -> Any:
    assert events[-1][0] == "answer", events[-1]
    return events[-1][1]


def test_the_page_and_its_files_come_from_here_alone(served: Served) -> None:
    status, headers, data = served.request("GET", "/")
    assert status == 200
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    text = data.decode()
    assert "<script type=" in text
    assert "style=" not in text
    assert "http:" not in text
    assert "https:" not in text
    for name in ("style.css", "page.css", "page.js", "answer.js", "viewer.js", "icon.svg"):
        status, headers, data = served.request("GET", f"/page/files/{name}")
        assert status == 200
        assert b"innerHTML" not in data
        assert b"//" not in data.replace(b"// ", b"").replace(b"http://www.w3.org/2000/svg", b"")
    for name in ("report.html", "..%2Fhost.py", "page_routes.py", "%2Fetc%2Fpasswd"):
        assert served.request("GET", f"/page/files/{name}")[0] == 404


def test_an_answer_comes_as_it_is_written_with_its_sources(served: Served) -> None:
    status, listed = served.json("GET", "/page/documents")
    assert status == 200
    assert [(one["name"], one["kind"]) for one in listed["documents"]] == [("light.pdf", "pdf"), ("notes.txt", "text")]
    events = served.ask(QUESTION, ["light.pdf", "notes.txt"])
    assert events[0][0] == "waiting"
    assert [data["text"] for name, data in events if name == "text"] == served.said.pieces
    assert ("sentence", {"sources": [1], "unsupported": []}) in events
    assert any(name == "progress" and data["unit"] == "pages" for name, data in events)
    answer = answer_of(events)
    assert "".join(piece["text"] for piece in answer["pieces"]) == answer["answer"] == "The lamp is lit at dusk."
    assert {one["document"] for one in answer["sources"]} == {"light.pdf", "notes.txt"}
    assert [one["document"] for one in answer["strips"]] == ["light.pdf", "notes.txt"]
    for strip in answer["strips"]:
        assert {level for _, _, level in strip["grains"]} == {None}, "no tree was read"
        assert strip["places"]
        for start, end, number, _ in strip["places"]:
            held = any(first <= start + 1e-4 and end <= last + 1e-4 for first, last, _ in strip["grains"])
            assert held or number > 1, "the best source was read"


def test_a_source_is_seen_as_a_marked_page_or_as_text(served: Served) -> None:
    answer = answer_of(served.ask(QUESTION, ["light.pdf", "notes.txt"]))
    for one in answer["sources"]:
        status, seen = served.json("GET", f"/page/answers/{answer['id']}/sources/{one['number']}")
        assert status == 200
        assert seen["remark"] is None
        assert seen["text"]["quote"] == one["quote"]
        if one["document"] == "notes.txt":
            assert seen["picture"] is None
            continue
        picture = seen["picture"]
        assert picture["boxed"] == picture["words"]
        assert all(0 <= left < right <= 1 and 0 <= top < bottom <= 1 for left, top, right, bottom in picture["boxes"])
        status, headers, data = served.request("GET", picture["address"])
        assert (status, headers["content-type"]) == (200, "image/png")
        assert data.startswith(b"\x89PNG")


def test_what_is_not_kept_or_not_there_is_not_found(served: Served) -> None:
    answer = answer_of(served.ask(QUESTION, ["notes.txt"]))
    for path in ("wrong/sources/1", f"{answer['id']}/sources/99", f"{answer['id']}/sources/0"):
        status, told = served.json("GET", f"/page/answers/{path}")
        assert status == 404
        assert told["error"]["message"] == "this source is not kept any more; ask again"
    assert served.request("GET", f"/page/answers/{answer['id']}/sources/1/picture")[0] == 404


def test_a_conversation_goes_on(served: Served) -> None:
    served.ask("And the horn?", ["light.pdf"], history=[{"question": QUESTION, "answer": "At dusk."}])
    assert served.said.questions == [("And the horn?", [(QUESTION, "At dusk.")])]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"no", 400, "the request is not JSON"),
        (b"[]", 400, "the request is not an object"),
        (b'{"question": " ", "documents": ["light.pdf"]}', 400, "the question is empty"),
        (b'{"question": "x", "documents": []}', 400, "choose at least one document"),
        (b'{"question": "x", "documents": "light.pdf"}', 400, "choose at least one document"),
        (b'{"question": "x", "documents": ["light.pdf"], "colour": 1}', 400, "unknown parameter 'colour'"),
        (b'{"question": "x", "documents": ["light.pdf"], "history": [{}]}', 400, "a turn has a question and an answer"),
        (b'{"question": "x", "documents": ["secret.txt"]}', 404, "'secret.txt' is not among the granted documents"),
        (b'{"question": "x", "documents": ["../secret.txt"]}', 404, "'../secret.txt' is not among"),
    ],
)
def test_what_can_not_be_meant_is_refused(served: Served, body: bytes, status: int, said: str) -> None:
    got, told = served.json("POST", "/page/ask", body)
    assert got == status
    assert told["error"]["message"].startswith(said)
    assert served.said.questions == []


def test_an_error_is_the_last_event(served: Served) -> None:
    served.said.error = DocumentError("light.pdf is damaged", hint="get another copy")
    assert served.ask(QUESTION, ["light.pdf"])[-1] == (
        "error",
        {"message": "light.pdf is damaged", "hint": "get another copy", "password": False},
    )
    served.said.error = RuntimeError("a secret of ours")
    name, told = served.ask(QUESTION, ["light.pdf"])[-1]
    assert (name, told["message"]) == ("error", "internal error: RuntimeError")


def test_a_reader_who_goes_stops_the_answer(served: Served) -> None:
    served.said.pieces, served.said.delay = ["word "] * 10_000, 0.02
    body = json.dumps({"question": QUESTION, "documents": ["notes.txt"]}).encode()
    connection = HTTPConnection("127.0.0.1", served.port, timeout=60)
    connection.request("POST", "/page/ask", body)
    response = connection.getresponse()
    while b"word" not in response.fp.readline():
        pass
    response.close()
    connection.close()
    wait_for(lambda: served.said.closed)
    served.said.pieces, served.said.delay = ["Yes."], 0.0
    assert answer_of(served.ask(QUESTION, ["notes.txt"]))["answer"] == "Yes."


def test_a_document_that_is_dropped_in_can_be_asked(served: Served) -> None:
    status, told = served.upload("Tide tables.pdf", make_pdf([["High water at noon is eleven feet."]]))
    assert (status, told) == (201, {"name": "Tide tables.pdf"})
    listed = served.json("GET", "/page/documents")[1]["documents"]
    assert [one["name"] for one in listed if one["dropped"]] == ["Tide tables.pdf"]
    path = served.granted.find("Tide tables.pdf").path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parents[1].stat().st_mode) == 0o700
    answer = answer_of(served.ask("How much is high water?", ["Tide tables.pdf"]))
    seen = served.json("GET", f"/page/answers/{answer['id']}/sources/1")[1]
    assert seen["picture"]["boxed"] == seen["picture"]["words"] > 0
    served.uploads.close()
    assert not path.exists()


def test_a_password_opens_a_document_that_needs_one(served: Served) -> None:
    data = rewritten(make_pdf([LINES]), password="oyster", algorithm="AES-128")
    name = served.upload("locked.pdf", data)[1]["name"]
    kind, told = served.ask(QUESTION, [name])[-1]
    assert (kind, told["message"], told["password"]) == ("error", "locked.pdf is encrypted", True)
    some = answer_of(served.ask(QUESTION, [name, "notes.txt"]))
    assert some["password"]
    assert "locked.pdf is encrypted" in some["warnings"]
    answer = answer_of(served.ask(QUESTION, [name], password="oyster"))
    assert not answer["password"]
    assert served.json("GET", f"/page/answers/{answer['id']}/sources/1")[1]["picture"]["boxed"] > 0


def test_names_of_uploads_are_data(served: Served) -> None:
    for name, data, status, said in (
        ("tool.exe", b"MZ", 400, "tool.exe is not a kind of document that is read"),
        ("", b"x", 400, "this is not a kind of document that is read"),
        ("..", b"x", 400, "this is not a kind of document that is read"),
        ("empty.txt", b"", 422, "empty.txt is empty"),
    ):
        got, told = served.upload(name, data)
        assert (got, told["error"]["message"]) == (status, said)
    assert served.json("POST", "/page/documents", b"x")[0] == 400
    hostile = "../../etc/<img src=x onerror=alert(1)>.txt"
    assert served.upload(hostile, b"words") == (201, {"name": "img src=x onerror=alert(1).txt"})


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("a/b\\c.PDF", "c.PDF"),
        ("\u202efdp.evil.txt", "fdp.evil.txt"),
        (".hidden.md", "hidden.md"),
        ("a\nb\x00c.txt", "a b c.txt"),
        ("é" * 300 + ".txt", "é" * 60 + ".txt"),
    ],
)
def test_a_name_is_its_last_part_without_controls(name: str, kept: str) -> None:
    assert clean_name(name) == kept


def test_too_much_is_refused_and_leaves_nothing(
    model_folder: Callable[..., Path], private_home: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("Words.")
    uploads = Uploads(most_bytes=1000, most_together=1500)
    model = model_folder("llama", max_position_embeddings=8192)
    with serving(model, private_home, [tmp_path / "notes.txt"], said=Said(), uploads=uploads) as served:
        assert served.upload("long.txt", b"x" * 1001)[0] == 507
        assert served.upload("one.txt", b"x" * 900)[0] == 201
        assert served.upload("two.txt", b"x" * 900)[0] == 507
        assert served.upload("three.txt", b"x" * 500)[0] == 201
        names = [one["name"] for one in served.json("GET", "/page/documents")[1]["documents"]]
        assert names == ["notes.txt", "one.txt", "three.txt"]


def test_another_site_can_ask_nothing(served: Served) -> None:
    body = json.dumps({"question": QUESTION, "documents": ["notes.txt"]}).encode()
    assert served.request("POST", "/page/ask", body, Origin="http://elsewhere.example")[0] == 403
    assert served.request("GET", "/page/documents", Host="elsewhere.example")[0] == 421
    assert served.said.questions == []


def test_collections_are_listed_with_the_documents_in_them(served: Served, tmp_path: Path) -> None:
    served.granted._sets = lambda: {"@notes": [str(tmp_path / "notes.txt")]}
    listed = served.json("GET", "/page/documents")[1]
    assert listed["collections"] == ["@notes"]
    assert {one["name"]: one["collection"] for one in listed["documents"]} == {"light.pdf": None, "notes.txt": "@notes"}
