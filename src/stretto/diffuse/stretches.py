"""Stretches of positions that stand side by side."""

from __future__ import annotations

import numpy as np

from .prediction import Positions


def stretches(positions: Positions) -> list[Positions]:
    """Indices into ascending positions [n], one array for each maximal stretch without a gap."""
    if not len(positions):
        return []
    return np.split(np.arange(len(positions)), np.flatnonzero(np.diff(positions) != 1) + 1)
