"""Layers of a PDF that are switched off: a viewer does not show them when it opens the file.

PDFium reads their text with the rest. So a file that has such layers is rewritten in memory, without their text.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pypdf

DEEPEST = 8
"""Forms within forms, and terms within terms of a layer's condition, are followed so deep."""
_SHOWING = frozenset((b"Tj", b"TJ", b"Do"))
_NEXT_LINE = frozenset((b"'", b'"'))


_COMPRESSED = re.compile(rb"/ObjStm\b")
_STREAM = re.compile(rb"stream\r?\n")
_LONGEST_HEAD = 2_000
"""Bytes of a compressed stream's dictionary that are looked at."""
_AT_ONCE = 1 << 20
MOST_INFLATED = 1 << 27
"""Bytes of compressed objects that are looked through; more are left to pypdf."""


def names_layers(data: bytes) -> bool | None:
    """Whether a file names layers anywhere, also within its compressed objects; None where these can't be looked into.

    Far quicker than to read the objects: a file may have a million of them.
    """
    name = b"/OCProperties"
    if name in data:
        return True
    done: set[int] = set()
    left = MOST_INFLATED
    for match in _COMPRESSED.finditer(data):
        stream = _STREAM.search(data, match.end(), match.end() + _LONGEST_HEAD)
        first = data.rfind(b"obj", max(0, match.start() - _LONGEST_HEAD), match.start())
        if stream is None or first < 0 or b"/DecodeParms" in data[first : stream.start()]:
            return None
        if stream.end() in done:
            continue
        done.add(stream.end())
        inflater, waiting, tail = zlib.decompressobj(), data[stream.end() : stream.end() + _AT_ONCE], b""
        place = stream.end() + len(waiting)
        while waiting and not inflater.eof and left > 0:
            try:
                piece = inflater.decompress(waiting, _AT_ONCE)
            except zlib.error:
                return None
            if name in tail + piece:
                return True
            tail = piece[-len(name) :]
            left -= len(piece)
            waiting = inflater.unconsumed_tail
            if not waiting:
                waiting = data[place : place + _AT_ONCE]
                place += len(waiting)
        if not inflater.eof:
            return None
    return False


def without_hidden(reader: pypdf.PdfReader) -> bytes | None:
    """The file without the text of layers that are off, None where it has none."""
    layers = _Layers(reader)
    if not layers.off:
        return None
    import pypdf

    writer = pypdf.PdfWriter(clone_from=reader)
    layers = _Layers(writer)
    changed = False
    forms: dict[int, Any] = {}
    for page in writer.pages:
        changed |= _strip_page(page, writer, layers, forms)
    return _written(writer) if changed else None


class _Layers:
    """Which optional content groups are off as the file is opened (PDF 32000-1, 8.11)."""

    def __init__(self, pdf: Any) -> None:
        root = pdf.root_object if hasattr(pdf, "root_object") else pdf.trailer["/Root"]
        properties = _value(root.get("/OCProperties")) or {}
        default = _value(properties.get("/D")) or {}
        groups = [_number(group) for group in _value(properties.get("/OCGs")) or ()]
        self.off: set[int] = set()
        if default.get("/BaseState") == "/OFF":
            self.off |= set(groups) - {_number(group) for group in _value(default.get("/ON")) or ()}
        self.off |= {_number(group) for group in _value(default.get("/OFF")) or ()}
        for usage in _value(default.get("/AS")) or ():
            usage = _value(usage)
            if usage.get("/Event") == "/View" and "/View" in (_value(usage.get("/Category")) or ()):
                self.off |= {
                    _number(group)
                    for group in _value(usage.get("/OCGs")) or ()
                    if _path(group, "/Usage", "/View", "/ViewState") == "/OFF"
                }
        self.off.discard(0)

    def hides(self, entry: Any, depth: int = 0) -> bool:
        """Whether content with this group or membership is not shown."""
        content = _value(entry)
        if not hasattr(content, "get") or depth > DEEPEST:
            return False
        if content.get("/Type") != "/OCMD":
            return _number(entry) in self.off
        expression = _value(content.get("/VE"))
        if expression:
            return not self._holds(expression, depth + 1)
        groups = content.raw_get("/OCGs") if "/OCGs" in content else None
        listed = _value(groups)
        members = list(listed) if isinstance(listed, list) else [] if listed is None else [groups]
        hidden = [_number(group) in self.off for group in members]
        if not hidden:
            return False
        policy = content.get("/P", "/AnyOn")
        if policy == "/AllOn":
            return any(hidden)
        if policy == "/AnyOff":
            return not any(hidden)
        return not all(hidden) if policy == "/AllOff" else all(hidden)

    def _holds(self, expression: Any, depth: int) -> bool:
        terms = _value(expression)
        if not isinstance(terms, list):
            return not self.hides(expression, depth)
        if not terms or depth > DEEPEST:
            return True
        values = [self._holds(term, depth + 1) for term in terms[1:]]
        if terms[0] == "/Not":
            return not all(values)
        return any(values) if terms[0] == "/Or" else all(values)


def _value(entry: Any) -> Any:
    return entry.get_object() if hasattr(entry, "get_object") else entry


def _number(entry: Any) -> int:
    reference = entry if hasattr(entry, "idnum") else getattr(entry, "indirect_reference", None)
    return int(reference.idnum) if reference is not None else 0


def _path(entry: Any, *names: str) -> Any:
    for name in names:
        entry = _value(entry)
        entry = entry.get(name) if hasattr(entry, "get") else None
    return _value(entry)


def _strip_page(page: Any, writer: Any, layers: _Layers, forms: dict[int, Any]) -> bool:
    from pypdf.generic import ContentStream

    contents = page.get_contents()
    if contents is None:
        return False
    resources = _value(page.get("/Resources")) or {}
    stripped = _stripped(ContentStream(contents, writer), resources, writer, layers, forms, 0)
    if stripped is None:
        return False
    page.replace_contents(stripped)
    return True


def _stripped(
    content: Any, resources: Any, writer: Any, layers: _Layers, forms: dict[int, Any], depth: int
) -> Any | None:
    """A content stream without what is hidden, None where nothing is."""
    properties = _value(resources.get("/Properties")) or {}
    objects: Any = _value(resources.get("/XObject")) or {}
    hidden: list[bool] = []
    kept: list[Any] = []
    changed = False
    for operands, operator in content.operations:
        if operator in (b"BDC", b"BMC"):
            hidden.append(operator == b"BDC" and _is_hidden(operands, properties, layers))
        elif operator == b"EMC" and hidden:
            hidden.pop()
        elif operator == b"Do" and not any(hidden) and operands and str(operands[0]) in objects:
            name = operands[0]
            entry = objects.raw_get(name)
            if layers.hides(_raw(_value(entry), "/OC")):
                changed = True
                continue
            changed |= _strip_form(objects, name, entry, writer, layers, forms, depth)
        elif any(hidden) and operator in _SHOWING:
            changed = True
            continue
        elif any(hidden) and operator in _NEXT_LINE:
            changed = True
            operands, operator = [], b"T*"
        kept.append((operands, operator))
    content.operations = kept
    return content if changed else None


def _raw(dictionary: Any, name: str) -> Any:
    return dictionary.raw_get(name) if hasattr(dictionary, "raw_get") and name in dictionary else None


def _is_hidden(operands: Sequence[Any], properties: Any, layers: _Layers) -> bool:
    if len(operands) < 2 or operands[0] != "/OC":
        return False
    entry = operands[1]
    if isinstance(entry, str):
        return layers.hides(_raw(properties, entry))
    return layers.hides(entry)


def _strip_form(
    objects: Any, name: Any, entry: Any, writer: Any, layers: _Layers, forms: dict[int, Any], depth: int
) -> bool:
    """A form's content stripped, once for each form; whether anything was hidden in it."""
    from pypdf.generic import ContentStream, DecodedStreamObject, NameObject

    form = _value(entry)
    number = _number(entry)
    if form.get("/Subtype") != "/Form" or depth >= DEEPEST:
        return False
    if number not in forms:
        forms[number] = None
        resources = _value(form.get("/Resources")) or {}
        stripped = _stripped(ContentStream(form, writer), resources, writer, layers, forms, depth + 1)
        if stripped is not None:
            copy = DecodedStreamObject()
            copy.update(
                {key: value for key, value in form.items() if key not in ("/Filter", "/DecodeParms", "/Length")}
            )
            copy.set_data(stripped.get_data())
            forms[number] = writer._add_object(copy)
    if forms[number] is None:
        return False
    objects[NameObject(name)] = forms[number]
    return True


def _written(writer: Any) -> bytes:
    target = BytesIO()
    writer.write(target)
    return target.getvalue()
