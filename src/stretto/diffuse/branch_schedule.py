"""When a part of the network is computed anew, and when what it added last is added again (arXiv 2506.13456)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from ..errors import InvalidRequest
from ..files import write_text
from ..models.window import Branch

if TYPE_CHECKING:
    from numpy.typing import NDArray

PARTS = get_args(get_args(Branch)[1])


@dataclass(frozen=True, slots=True)
class Schedule:
    """Of so many steps, those at which each branch is computed; step 0 is always one of them."""

    steps: int
    updates: Mapping[Branch, frozenset[int]]

    def write(self, path: Path) -> None:
        """As JSON: {"steps": T, "updates": {"0.attention": [0, …], …}}."""
        named = {f"{layer}.{part}": sorted(found) for (layer, part), found in self.updates.items()}
        write_text(path, json.dumps({"steps": self.steps, "updates": named}))

    @classmethod
    def read(cls, path: Path) -> Schedule:
        """What `write` wrote. Raises InvalidRequest where the file is another one."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            updates = {}
            for name, found in content["updates"].items():
                layer, part = name.split(".")
                if part not in PARTS or 0 not in found:
                    raise ValueError(name)
                updates[int(layer), part] = frozenset(found)
            return cls(int(content["steps"]), updates)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidRequest(
                f"{path} is no schedule: {error}", hint="`stretto train branches` makes one"
            ) from error


def uniform(branches: list[Branch], steps: int, count: int) -> Schedule:
    """The same `count` steps for all branches, evenly spread."""
    count = min(count, steps)
    updates = frozenset(step * steps // count for step in range(count))
    return Schedule(steps, dict.fromkeys(branches, updates))


def best_updates(similarity: NDArray[np.float64], count: int) -> tuple[list[int], float]:
    """The `count` steps, the first of them 0, from which the steps between are most alike, and how alike in sum.

    `similarity` [T, T] of what the branch adds at each two steps. By dynamic programming over segments, O(count · T²).
    """
    steps = len(similarity)
    sums = np.zeros((steps + 1, steps + 1))  # [i, j] gain of computing at i and reusing it until j − 1
    for start in range(steps):
        sums[start, start + 2 :] = np.cumsum(similarity[start, start + 1 :])
    best = np.where(np.arange(steps + 1) > 0, sums[0], -np.inf)  # of [0, j) with the updates so far
    chosen: list[NDArray[np.int64]] = []
    for made in range(1, min(count, steps)):
        ends = np.full((steps + 1, steps + 1), -np.inf)  # [i, j]: the last update is i
        for last in range(made, steps):
            ends[last, last + 1 :] = best[last] + sums[last, last + 1 :]
        chosen.append(ends.argmax(0))
        best = ends.max(0)
    updates, end = [], steps
    for last_of in reversed(chosen):
        end = int(last_of[end])
        updates.append(end)
    return [0, *reversed(updates)], float(best[steps])


def bubble(updates: dict[int, set[int]], volatility: Mapping[int, float], most: int) -> dict[int, set[int]]:
    """Let errors not pass on: of the `most` most volatile MLPs each is computed whenever a deeper one of them is."""
    chosen = sorted(sorted(volatility, key=lambda layer: -volatility[layer])[:most], reverse=True)
    found = {layer: set(steps) for layer, steps in updates.items()}
    for deeper, layer in pairwise(chosen):
        found[layer] |= found[deeper]
    return found
