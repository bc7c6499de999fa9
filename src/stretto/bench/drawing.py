"""matplotlib, where there is a picture to draw; apart, so that its absence is told before anything heavy is loaded."""

from __future__ import annotations

from typing import Any

from ..errors import Unsupported


def pyplot() -> Any:
    """matplotlib's drawing interface, without a screen. Raises Unsupported where it is not installed."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as drawing
    except ImportError as error:
        raise Unsupported("the plot needs matplotlib", hint="pip install 'stretto[bench]'") from error
    return drawing
