"""The words beside a PDF's text as pypdf has them: to hold the first reading against, and for who signed.

Any of this may raise anything on a damaged file; `pdf.SecondOpinion` catches it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pypdf

MOST_ELEMENTS = 20_000
"""Elements of the file's structure that are looked through for figures' texts."""
_OFF = ("", "/Off")


def strings(reader: pypdf.PdfReader, page: pypdf.PageObject) -> list[str]:
    """All words of the page's annotations, and of the file's figures."""
    found: list[str] = []
    for annotation in _annotations(page):
        value = _inherited(annotation, "/V")
        chosen = [str(one) for one in value] if isinstance(value, list) else []
        labels = dict(_options(annotation))
        single = [str(value)] if isinstance(value, str) else []
        found += [*single, *(labels.get(one, one) for one in [*single, *chosen])]
        if chosen:
            found.append(", ".join(labels.get(one, one) for one in chosen))
        if value is not None and hasattr(value, "get"):
            found.append(_signed(value))
        if isinstance(stamp := annotation.get("/Name"), str):
            found.append(stamp.lstrip("/"))
        if "/Contents" in annotation:
            found.append(str(annotation["/Contents"]))
    return [*found, *_alternatives(reader)]


def ticked(page: pypdf.PageObject) -> int:
    """How many boxes of the page are ticked."""
    return sum(
        1
        for annotation in _annotations(page)
        if _inherited(annotation, "/FT") == "/Btn" and str(annotation.get("/AS", "")) not in _OFF
    )


def signatures(reader: pypdf.PdfReader) -> dict[str, str]:
    """What each signature says, by its field's whole name."""
    fields = reader.get_fields() or {}
    signed = {}
    for name, field in fields.items():
        value = field.get("/V")
        value = value.get_object() if hasattr(value, "get_object") else value
        if field.get("/FT") == "/Sig" and hasattr(value, "get"):
            signed[str(name)] = _signed(value)
    return signed


def _signed(value: Any) -> str:
    who = " ".join(str(value.get("/Name", "")).split())
    when = re.match(r"D:(\d{4})(\d\d)(\d\d)", str(value.get("/M", "")))
    date = f"{when[1]}-{when[2]}-{when[3]}" if when else ""
    told = ", ".join(part for part in (who, date) if part)
    return f"[signed: {told}]" if told else "[signed]"


def _annotations(page: pypdf.PageObject) -> Iterator[Any]:
    for reference in page.get("/Annots", []) or []:
        annotation = reference.get_object()
        if hasattr(annotation, "get"):
            yield annotation


def _inherited(annotation: Any, key: str) -> Any:
    for _ in range(16):
        if key in annotation:
            return annotation[key]
        parent = annotation.get("/Parent")
        if parent is None:
            return None
        annotation = parent.get_object()
    return None


def _options(annotation: Any) -> Iterator[tuple[str, str]]:
    for option in _inherited(annotation, "/Opt") or []:
        option = option.get_object() if hasattr(option, "get_object") else option
        if isinstance(option, list) and len(option) == 2:
            yield str(option[0]), str(option[1])


def _alternatives(reader: pypdf.PdfReader) -> Iterator[str]:
    root = reader.root_object.get("/StructTreeRoot")
    waiting = [root] if root is not None else []
    seen: set[int] = set()
    for _ in range(MOST_ELEMENTS):
        if not waiting:
            return
        element = waiting.pop()
        element = element.get_object() if hasattr(element, "get_object") else element
        if id(element) in seen:
            continue
        seen.add(id(element))
        if isinstance(element, list):
            waiting += element
        elif hasattr(element, "get"):
            if "/Alt" in element:
                yield str(element["/Alt"])
            if "/K" in element:
                waiting.append(element.raw_get("/K"))
