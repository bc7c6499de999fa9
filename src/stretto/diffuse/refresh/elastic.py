"""Elastic-Cache: compute anew where attention to the most attended token has drifted, and above (arXiv 2510.14973)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, Unsupported
from ...models.contract import Ability
from ..caching import require_bidirectional, require_no_rechecks
from ..canvas import OPEN, Canvas, Delta, Span, none
from ..contract import World
from ..prediction import Positions
from .contract import Observation, Plan, RedoingState, Refresh

if TYPE_CHECKING:
    from torch import Tensor

ENTRY = Entry(
    name="elastic-cache",
    family="diffusion",
    source="arXiv 2510.14973; code github.com/VILA-Lab/Elastic-Cache",
    parts="threshold+sliding(16)+elastic",
    guarantee=Guarantee.APPROXIMATE,
    number=40,
    needs=(
        "masked-diffusion model that sees its whole canvas",
        "hidden states",
        "attention summaries",
        "ranges of layers",
    ),
    summary="a sliding window over kept keys and values; above a layer whose attention drifts all is computed anew",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)

NEEDS = Ability.LAYERS | Ability.HIDDEN | Ability.ATTENTION


@dataclass(frozen=True, slots=True)
class Elastic(Refresh):
    """Computes what the order looks at, and what was filled at the step before.

    In each layer it watches the token that these look at most, of those that are filled: the cosine between how they
    look at that same token at one step and at the next. Below `least` in some layer, all positions are computed once
    more in the layers above, from what entered them last. What these layers computed before is spent for nothing, and
    counted. Above 1 everything is computed at each step, which is no cache; at −1 nothing is computed twice.
    """

    least: float = 0.9  # cosine, ≥ −1
    tracked: bool = False  # compute the watched tokens too, at each step (published sources disagree)

    name: ClassVar[str] = "elastic"

    def __post_init__(self) -> None:
        if not self.least >= -1:
            raise InvalidRequest(f"a cosine of {self.least}", hint="-1 to 1; above 1 everything is computed")

    def check(self, world: World) -> None:
        require_bidirectional(world, self.name)
        require_no_rechecks(world, self.name)
        if NEEDS & ~world.model.abilities:
            raise Unsupported(
                f"{world.model.name} shows no attention and no hidden rows, which {self.name!r} watches",
                hint="use 'delayed-cache' or 'dual-cache'",
            )

    def open(self, canvas: Canvas, context: Context) -> RedoingState:
        return ElasticState(self, context.target.layers, context.target.heads)


@dataclass(frozen=True, slots=True)
class Watch:
    """One layer's most attended token, and how much the rows looked at it."""

    position: int
    rows: Positions  # [n]
    attention: Tensor  # [n]


class ElasticState(RedoingState):
    """Remembers what it watches in each layer."""

    def __init__(self, settings: Elastic, layers: int, heads: int) -> None:
        self.settings = settings
        self.layers = layers
        self.attention = tuple((layer, head) for layer in range(layers) for head in range(heads))
        self.watches: list[Watch | None] = [None] * layers
        self.size = 0  # positions computed at least once
        self.changed: set[int] = set()  # positions whose tokens have changed
        self.looked: Positions = none()  # what the order looks at

    def plan(self, canvas: Canvas, window: Span, wanted: Positions) -> Plan:
        self.looked = wanted[canvas.filled[wanted] == OPEN]
        if self.settings.least > 1:
            return Plan(np.arange(len(canvas)))
        rows = np.union1d(wanted, np.arange(self.size, len(canvas)))
        if self.size:
            extra = set(self.changed)
            if self.settings.tracked:
                extra |= {watch.position for watch in self.watches if watch is not None}
            rows = np.union1d(rows, [at for at in sorted(extra) if at < len(canvas)]).astype(np.int64)
        self.size, self.changed = len(canvas), set()
        return Plan(rows, attention=self.attention, keep=True)

    def redo(self, canvas: Canvas, seen: Observation) -> int | None:
        for layer, watch in enumerate(self.watches[:-1]):  # nothing is above the last
            if watch is not None and self._drift(layer, watch, seen) < self.settings.least:
                return layer + 1
        return None

    def read(self, canvas: Canvas, seen: Observation) -> None:
        if self.settings.least > 1:
            return
        known = torch.from_numpy(np.flatnonzero(canvas.filled[seen.slots] != OPEN))
        rows = np.flatnonzero(np.isin(seen.rows, self.looked))
        rows = rows[np.argsort(seen.rows[rows])]  # the window's come last, wherever it stands
        if not len(known) or not len(rows):
            return
        for layer in range(self.layers):
            attention = self._attention(layer, seen, rows)  # [n, S]
            slot = int(known[attention[:, known.to(attention.device)].sum(0).argmax()])
            self.watches[layer] = Watch(int(seen.slots[slot]), seen.rows[rows], attention[:, slot])

    def learn(self, canvas: Canvas, delta: Delta) -> None:
        self.changed.update(delta.touched)

    def _attention(self, layer: int, seen: Observation, rows: Positions) -> Tensor:
        """How much these rows look at each slot, the mean of all heads [n, S]."""
        at = torch.from_numpy(rows)
        heads = [seen.attention[head] for head in self.attention if head[0] == layer]
        return torch.stack(heads).mean(0)[at.to(heads[0].device)]

    def _drift(self, layer: int, watch: Watch, seen: Observation) -> float:
        """The cosine between then and now of how the rows look at the token watched then; −∞ without any of them."""
        slot = np.flatnonzero(seen.slots == watch.position)
        common = np.intersect1d(watch.rows, np.intersect1d(seen.rows, self.looked))
        if not len(common) or not len(slot):
            return -np.inf
        order = np.argsort(seen.rows)
        now_rows = order[np.searchsorted(seen.rows, common, sorter=order)]
        now = self._attention(layer, seen, now_rows)[:, int(slot[0])]
        then = watch.attention[torch.from_numpy(np.searchsorted(watch.rows, common)).to(now.device)]
        return float(torch.cosine_similarity(now, then, dim=0))
