"""Formulas in TeX as MathML, which is then read in one line: `\\frac{a}{b}` as a/b."""

from __future__ import annotations

import html

LONGEST = 5000
"""Characters of a formula; a longer one stands as it is written."""


def as_html(source: str, *, block: bool = False) -> str:
    """The formula as MathML, or, where it can't be parsed, as it is written."""
    from docutils.utils.math import latex2mathml

    text = source.strip()
    if len(text) <= LONGEST:
        try:
            return str(latex2mathml.tex2mathml(text, as_block=block))
        except Exception:  # the parser stumbles over what it does not know in as many ways as there are
            pass
    return html.escape(text)
