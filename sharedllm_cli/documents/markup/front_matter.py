"""The front matter of a Markdown file (YAML between `---`, TOML between `+++`): metadata, and what else it says."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from sharedllm_cli.documents import metadata
from sharedllm_cli.documents.metadata import Metadata

LARGEST = 1 << 16
"""Characters of front matter that are parsed; a longer one stays as it is."""
_ENTRY = re.compile(r"^(?=[\w\"'\[].*)", re.MULTILINE)
_NAME = re.compile(r"[\"']?([\w][\w .:-]*?)[\"']?\s*[:=]")
# What only the site's program reads.
_OF_THE_PROGRAM = """
layout permalink draft slug weight toc sidebar sidebar_label sidebar_position sidebar_class_name nav_order has_children
has_toc hide_title hide_table_of_contents parent aliases url redirect_from redirect_to id nav_exclude jupytext
kernelspec orphan type theme published comments
"""


@dataclass(frozen=True)
class FrontMatter:
    """The facts, the title, and the entries that are neither facts nor for the site's program, as they are written."""

    metadata: Metadata = ()
    title: str = ""
    rest: str = ""


def read(text: str, fence: str) -> FrontMatter:
    """What stands between two fences; all of it is rest where it can't be parsed."""
    values = _parsed(text, fence)
    if values is None:
        return FrontMatter(rest=text.strip("\n"))
    named = [(str(name), value) for name, value in values.items()]
    facts = metadata.of_fields([(name, word) for name, value in named for word in _words(value)])
    kinds = {name for name, value in named if any(metadata.of_fields([(name, word)]) for word in _words(value))}
    dropped = kinds.union(_OF_THE_PROGRAM.split())
    entries = [entry for entry in _ENTRY.split(text) if entry.strip() and _name(entry) not in dropped]
    title = next((value for kind, value in facts if kind == "title"), "")
    return FrontMatter(facts, title, "".join(entries).strip("\n"))


def _name(entry: str) -> str:
    match = _NAME.match(entry)
    return match[1] if match else ""


def _parsed(text: str, fence: str) -> Mapping[str, Any] | None:
    import yaml

    if len(text) > LARGEST:
        return None
    try:
        found = tomllib.loads(text) if fence == "+++" else yaml.safe_load(text)
    except (yaml.YAMLError, tomllib.TOMLDecodeError, RecursionError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _words(value: Any) -> list[str]:
    """A value as texts: one, or those of a list; of an author with a name and more, the name."""
    one_or_more = value[: metadata.MOST_NAMES] if isinstance(value, list) else [value]
    named = [one.get("name") if isinstance(one, dict) else one for one in one_or_more]
    return [str(one) for one in named if isinstance(one, str | int | float | date) and not isinstance(one, bool)]
