"""Documents as resources: `sharedllm://documents/NAME` and `sharedllm://documents/NAME/page/12`.

Pages are counted from 1; of a format in parts the parts are, and a format without either has page 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from sharedllm_cli.errors import UsageError
from sharedllm_cli.serving.granted import GrantedDocument

ROOT = "sharedllm://documents/"
TEMPLATE = ROOT + "{name}/page/{page}"
ADDRESS = re.compile(re.escape(ROOT) + r"(?P<name>[^/?#]+)(?:/page/(?P<page>[0-9]{1,7}))?")


@dataclass(frozen=True)
class Address:
    """A document by its granted name, and one of its pages or None for its outline."""

    name: str
    page: int | None = None

    @classmethod
    def parse(cls, uri: str) -> Address:
        """What a URI addresses; UsageError for one of another form."""
        found = ADDRESS.fullmatch(uri)
        if found is None:
            raise UsageError(f"there is no resource {uri!r:.200}", hint=f"they look like {TEMPLATE}")
        return cls(unquote(found["name"]), None if found["page"] is None else int(found["page"]))

    def __str__(self) -> str:
        document = ROOT + quote(self.name, safe="")
        return document if self.page is None else f"{document}/page/{self.page}"


def granted_name(document: str, known: Sequence[GrantedDocument], paths: Mapping[str, str]) -> str | None:
    """The granted name of a document that an answer names; None for one that is no file of its own.

    `paths`: whole paths by the names in the answer, where they are known.
    """
    path = paths.get(document)
    found = [one for one in known if (str(one.path) == path if path else one.name == document)]
    if not found and path is None:
        found = [one for one in known if one.path.name == document]
    return found[0].name if len(found) == 1 else None


def page_text(read: Mapping[str, Any], page: int) -> str:
    """The text of one page of the object of `read`; UsageError for a page that the document has not."""
    texts = [one["text"] for one in read["pages"] if one["page"] == page]
    if not texts:
        last = max((one["page"] for one in read["pages"]), default=0)
        raise UsageError(f"{read['document']} has no page {page}", hint=f"its last is page {last}")
    return "\n".join(texts)


def contents_text(address: Address, read: Mapping[str, Any], last: int) -> str:
    """What a document has, in words: its pages and headings, each with the address of its page."""
    first, end = Address(address.name, 1), Address(address.name, last)
    parted = any(page["part"] is not None for page in read["pages"])
    if parted or read["page_count"]:
        noun = f"{'part' if parted else 'page'}{'' if last == 1 else 's'}"
        lines = [f"{read['document']}: {last} {noun}, {first} to {end}"]
    else:
        lines = [f"{read['document']}: {first}"]
    for heading in read["outline"]:
        page = Address(address.name, heading["page"])
        lines.append(f"{'  ' * (heading['level'] - 1)}{heading['title']}  {page}")
    return "\n".join(lines)
