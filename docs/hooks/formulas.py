"""`$…$` and `$$…$$` as MathML, which browsers show without a script."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)


def mathml(tex: str, display: str = "inline") -> str:
    """MathML of a formula; ValueError if there is something in it that the converter leaves as it is."""
    lines = re.sub(r"(\\(?:begin|end)){aligned}", r"\1{split}", tex)  # the name that it knows
    formula: str = convert(lines.strip(), display=display).replace("\\_", "_")
    if "\\" in formula or "<mi>&</mi>" in formula:
        raise ValueError(f"latex2mathml cannot convert all of {tex}")
    formula = re.sub(
        r"<mo>(max|min)</mo>(?=<mo[^>]*>&#x00028;)", r"<mi>\1</mi>", formula
    )  # no space: max(x, 0)
    return re.sub(r"(?<!<msub>)(<mi>(?:cos|log|tanh)</mi>)", r'\1<mspace width="0.17em"/>', formula)


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """The page's HTML with MathML in place of TeX."""
    try:
        content = INLINE.sub(lambda found: mathml(html.unescape(found[1])), content)
        return BLOCK.sub(
            lambda found: f'<div class="formula">{mathml(html.unescape(found[1]), "block")}</div>', content
        )
    except ValueError as error:
        raise PluginError(f"{page.file.src_uri}: {error}") from error
