"""Small forms of Word's XML: of several ways to write the same the one that counts, boxes of text, fields of forms."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

from lxml import etree

from sharedllm_cli.documents.office.package import attribute, child, local, number


def visible(html: str) -> bool:
    """Whether some HTML shows anything."""
    return "<img" in html or bool(re.sub(r"<[^>]*>", "", html).strip())


def chosen(element: etree._Element) -> etree._Element | None:
    """Of several forms of the same content the first that is not empty: newer programs write a richer one first."""
    choices = [one for one in element if local(one) in ("Choice", "Fallback")]
    return next((one for one in choices if len(one)), None)


def boxes(element: etree._Element) -> Iterable[etree._Element]:
    """The boxes of text in a drawing, those within another one left to it; of two forms of a drawing the first."""
    for one in element:
        if local(one) == "txbxContent":
            yield one
        elif local(one) == "AlternateContent":
            if (form := chosen(one)) is not None:
                yield from boxes(form)
        else:
            yield from boxes(one)


def form_value(data: etree._Element | None) -> str:
    """What an old form's field shows beside its result: a box, or the entry chosen of a list."""
    box, listed = child(data, "checkBox"), child(data, "ddList")
    if box is not None:
        state = child(box, "checked")
        state = child(box, "default") if state is None else state
        on = state is not None and attribute(state, "val", "1").lower() in ("1", "true", "on")
        return "[x]" if on else "[ ]"
    if listed is None:
        return ""
    entries = [attribute(one, "val") for one in listed if local(one) == "listEntry"]
    chosen = number(attribute(child(listed, "result"), "val", "0"))
    return escape(entries[chosen]) if 0 <= chosen < len(entries) else ""
