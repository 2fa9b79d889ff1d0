"""`$…$` and `$$…$$` as MathML, which browsers show without a script."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """The page's HTML with MathML in place of TeX."""

    def mathml(found: re.Match[str], display: str) -> str:
        tex = html.unescape(found[1]).strip()
        formula = convert(tex, display=display)
        if "\\" in re.sub("<annotation.*?</annotation>", "", formula):
            raise PluginError(f"{page.file.src_path}: latex2mathml does not know a command in {tex}")
        return formula

    content = INLINE.sub(lambda found: mathml(found, "inline"), content)
    return BLOCK.sub(lambda found: f'<div class="formula">{mathml(found, "block")}</div>', content)
