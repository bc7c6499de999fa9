"""Layers of the target as what a drafter guesses from: the target's weights, over keys and values of its own cache.

What the target has read is not read again: keys and values of committed tokens are copied from its cache, round by
round, for the layers up to the last one that guesses. So a draft goes on from what the whole target made of the text,
pictures and edits included, and costs the memory of those layers' keys once more. Drafted tokens are evaluated here and
once more when they are verified.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from ...context import Context
from ...errors import Unsupported
from ...models.blocks import Three
from ...models.cache import Cache
from ...models.contract import Ability, Evaluation, Model, Want
from ...models.window import Window
from ...row import Row
from ..contract import Outcome
from ..small_model import DraftRow, SmallModel
from .contract import Layers

if TYPE_CHECKING:
    from torch import Tensor


class Inside(SmallModel):
    """Some of the target's layers, and a cache of theirs."""

    def __init__(self, context: Context, layers: Layers, needs: Ability = Ability.NONE) -> None:
        """Raises Unsupported where the target does not run, or lend, its layers."""
        target, held = context.target, context.cache
        if (layers.needs | needs) & ~target.abilities or not isinstance(held, Cache):
            raise Unsupported(
                f"{target.name} lends none of its layers to {layers.name!r}",
                hint="use a model whose layers run one by one, or a draft model",
            )
        super().__init__(context, target, needs)
        self.held = held
        self.choosing = layers.begin(context)
        self.want = self.choosing.want
        shape = replace(held.shape, layers=self.choosing.deepest)
        self.cache: Cache = Cache(shape, key_form=held.key_form)

    def open(self, row: Row) -> InsideRow:
        return InsideRow(self, row, self.cache.open())

    def read(self, drafts: Sequence[DraftRow], wanted: Sequence[Sequence[int]]) -> Tensor:
        """See `SmallModel.read`; rows for which the same layers guess are evaluated together."""
        mine: dict[tuple[int, ...], list[int]] = {}
        for at, draft in enumerate(drafts):
            assert isinstance(draft, InsideRow)
            mine.setdefault(draft.chosen.kept, []).append(at)
        lines: list[Tensor] = [torch.empty(0)] * len(drafts)
        for places in mine.values():
            nodes = [wanted[at] for at in places]
            found = super().read([drafts[at] for at in places], nodes)
            if len(mine) == 1:
                return found
            for at, part in zip(places, torch.split(found, [len(each) for each in nodes]), strict=True):
                lines[at] = part
        return torch.cat(lines)

    def _evaluate(self, drafts: Sequence[DraftRow], window: Window, want: Want) -> Evaluation:
        assert isinstance(drafts[0], InsideRow)
        return run(self.model, drafts[0].chosen.kept, self.cache, window, want)


class InsideRow(DraftRow):
    """One row: what is copied of it from the target's cache, and the tokens drafted below that in this round."""

    small: Inside

    def __init__(self, small: Inside, row: Row, cache_row: int) -> None:
        super().__init__(small, row, cache_row)
        self.chosen = small.choosing.open(row)
        self._copied = 0  # slots

    def begin(self) -> int:
        depth = min(super().begin(), self.chosen.depth)
        if depth > 0:
            self._copy()
        return depth

    def hear(self, outcome: Outcome) -> None:
        self.chosen.learn(self.row, outcome)
        super().hear(outcome)

    def advance(self, committed: Sequence[int]) -> None:
        """What was evaluated here is no longer wanted: the target has evaluated it, and all layers of it."""
        self._forget()

    def fork(self, row: Row) -> InsideRow:
        cache = self.small.cache
        copy = InsideRow(self.small, row, cache.fork(self.cache_row, fixed=self._copied)[0])
        cache.truncate(copy.cache_row, self._copied)
        copy.chosen, copy._copied = self.chosen.fork(row), self._copied
        return copy

    def _copy(self) -> None:
        """Hold what the target holds of the row, and nothing else."""
        held, cache = self.small.held, self.small.cache
        cache.truncate(self.cache_row, self._copied)
        end = held.length(self.row.cache_row)
        if self.chosen.due and self._copied < end:
            self._take(end - 1)
            self.chosen.settle(self._through)
        self._take(end)

    def _take(self, end: int) -> None:
        held, cache = self.small.held, self.small.cache
        cache.restore(self.cache_row, lent(held, self.row.cache_row, self._copied, end, cache.shape.layers))
        self._copied = end

    def _through(self, layer: int, rows: Tensor) -> Tensor:
        """Rows [n, C] that each pass through a layer behind what is copied, and see nothing of each other."""
        model, cache, count = self.small.model, self.small.cache, len(rows)
        tokens = torch.zeros(1, count, dtype=torch.int64, device=model.device)
        place = cache.following(self.cache_row)
        alone = torch.eye(count, dtype=torch.bool, device=model.device)[None]
        window = Window([self.cache_row], tokens, torch.full_like(tokens, place), [count], alone)
        window.layers, window.hidden = (layer, layer + 1), rows[None]
        found = model.evaluate(window, cache, Want(logits=False, hidden=(layer + 1,))).hidden[layer + 1][0]
        cache.truncate(self.cache_row, self._copied)
        return found


def lent(cache: Cache, row: int, start: int, end: int, layers: int) -> Three:
    """What the first layers hold of a row in some slots; where these are its own, as they lie there."""
    base = cache.shared(row)
    if start < base:
        positions, keys, values = cache.save(row, start, end)
        return positions, keys[:layers], values[:layers]
    place, own = cache.place_of(row), slice(start - base, end - base)
    keys, values = (block[:layers, place, None, :, own] for block in cache.blocks)
    return cache.row_positions(row)[start:end].view(1, 1, 1, -1, 1), keys, values


def run(model: Model, kept: Sequence[int], cache: Cache, window: Window, want: Want) -> Evaluation:
    """A window that passes through these layers only, as far as logits are wanted."""
    rows = None
    *before, last = spans(kept)
    for start, end in before:
        part = replace(window, layers=(start, end), hidden=rows)
        rows = model.evaluate(part, cache, Want(logits=False, hidden=(end,))).hidden[end]
    return model.evaluate(replace(window, layers=last, hidden=rows), cache, want)


def spans(kept: Sequence[int]) -> list[tuple[int, int]]:
    """Layers that stand one behind the other, as ranges [a, b).

    >>> spans((0, 1, 4))
    [(0, 2), (4, 5)]
    """
    ends = [at + 1 for at, (one, other) in enumerate(pairwise(kept)) if other != one + 1]
    return [(kept[a], kept[b - 1] + 1) for a, b in zip([0, *ends], [*ends, len(kept)], strict=True)]
