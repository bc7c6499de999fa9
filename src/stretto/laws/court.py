"""The one test of `stretto laws`: run by pytest over the trials of the parts that were named."""

from __future__ import annotations

from collections.abc import Callable


def test_law(trial: Callable[[], None]) -> None:
    """What a law demands of a part."""
    trial()
