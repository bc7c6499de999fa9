"""matplotlib, where there is a picture to draw: how pictures look and how they are kept.

Apart, so that its absence is told before anything heavy is loaded.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from ..errors import Unsupported
from ..files import replacing

FINE = re.compile(r"(\d\.\d\d)\d+")  # beyond hundredths of a point
FONTS = ["DejaVu Sans", "Verdana"]  # letters of the first are laid out; those of the second are as wide


def pyplot() -> Any:
    """matplotlib's drawing interface, without a screen. Raises Unsupported where it is not installed."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as drawing
    except ImportError as error:
        raise Unsupported("the plot needs matplotlib", hint="pip install 'stretto[bench]'") from error
    return drawing


def plainly(axis: Any, *, grid: str, bare: tuple[str, ...] = ("top", "right")) -> None:
    """A light grid (`x`, `y` or `both`) behind what is drawn, and no frame on the `bare` sides."""
    axis.spines[list(bare)].set_visible(False)
    axis.grid(axis=grid, linewidth=0.4, color="#dddddd")
    axis.set_axisbelow(True)


def legend(figure: Any, axis: Any, *, ncols: int, where: str = "lower", **style: Any) -> None:
    """What is drawn on one axis, named once for all: below or (`upper`) above them."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8.5, frameon=False, ncols=ncols, loc=f"outside {where} center", **style)


def headed(figure: Any, text: str) -> None:
    """Lines over everything that a figure holds."""
    figure.suptitle(text, fontsize=10, x=0.01, ha="left")


def png(figure: Any, path: Path) -> None:
    """Write a figure to a file, and let it go."""
    with replacing(path) as fresh:
        figure.savefig(fresh, dpi=150)
    pyplot().close(figure)


def svg(figure: Any, name: str) -> str:
    """A figure as an SVG element to stand in a page; `name` keeps its references apart from other figures'.

    Letters stay text, in fonts of one width: as outlines they are most of a page.
    """
    drawing = pyplot()
    written = io.StringIO()
    with drawing.rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.sans-serif": FONTS}):
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    drawing.close(figure)
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"\s*\n\s*", " ", text).replace("> <", "><")
    used = set(re.findall(r'(?:href="#|url\(#)([^")]*)', text))
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
    text = re.sub(r'="[^"]*"', lambda attribute: FINE.sub(r"\1", attribute[0]), text)
    text = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{name}" ', 1)
