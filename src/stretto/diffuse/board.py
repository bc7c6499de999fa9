"""Evaluates canvases over cached keys and values: any rows of any canvas, several canvases at once.

A sheet is one canvas's row of the cache. Its slots stand in any order, as attention does not care: rows that are
computed again are dropped and appended. Rows of the window come last, so that dropping them moves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..models.cache import Cache
from ..models.contract import Evaluation, Model, Want
from ..models.masked import Masking
from ..models.window import Window
from .contract import NONE, Plan, Reading, Span
from .proposal import Positions


@dataclass(slots=True, eq=False)
class Sheet:
    """Keys and values of one canvas."""

    row: int  # of the cache
    held: Positions = field(default_factory=lambda: NONE)  # [S] the position in each slot


@dataclass(slots=True, eq=False)
class View:
    """One canvas in one evaluation."""

    sheet: Sheet
    ids: Positions  # [L]
    plan: Plan
    window: Span  # its rows are put last
    wanted: Positions  # [n] positions whose logits are wanted, ascending

    def rows(self, masking: Masking) -> Positions:
        """Everything that is computed, in the order of the slots: the plan, and what the wanted positions need."""
        computed = np.zeros(len(self.ids), np.bool_)
        computed[self.plan.rows] = True
        computed[sources(masking, self.wanted)] = True
        rows = np.flatnonzero(computed)
        late = (rows >= self.window.start) & (rows < self.window.end)
        return np.concatenate([rows[~late], rows[late]])


def sources(masking: Masking, positions: Positions) -> Positions:
    """The rows that speak of these positions."""
    return np.maximum(positions - 1, 0) if masking.shift else positions


@dataclass(slots=True, eq=False)
class Sight:
    """What came out for one view."""

    start: int  # its first line in the logits
    computed: int  # rows that were evaluated
    reading: Reading


class Board:
    """The sheets of one decode, over one cache."""

    def __init__(self, model: Model, masking: Masking, cache: Cache) -> None:
        self.model = model
        self.masking = masking
        self.cache = cache

    def open(self) -> Sheet:
        """A sheet that holds nothing."""
        return Sheet(self.cache.open())

    def fork(self, sheet: Sheet, count: int = 1) -> list[Sheet]:
        """Sheets that begin as copies: several canvases that share what was computed so far."""
        return [Sheet(row, sheet.held.copy()) for row in self.cache.fork(sheet.row, count)]

    def close(self, sheet: Sheet) -> None:
        """Give its row of the cache back."""
        self.cache.free(sheet.row)

    def evaluate(self, views: Sequence[View]) -> tuple[Tensor, list[Sight]]:
        """One evaluation of all views: logits [N, V] of the wanted positions, view after view, and what was seen."""
        order = {row: at for at, row in enumerate(self.cache.in_order([view.sheet.row for view in views]))}
        places = [order[view.sheet.row] for view in views]  # in the batch: as in the cache's blocks
        lined = sorted(views, key=lambda view: order[view.sheet.row])
        rows = [view.rows(self.masking) for view in lined]
        for view, computed in zip(lined, rows, strict=True):
            self._drop(view, computed)
        window = self._window(lined, rows)
        slots = [self._slots(view, computed) for view, computed in zip(lined, rows, strict=True)]
        want = Want(
            logits=_padded(slots, self.model.device),
            hidden=tuple(sorted({layer for view in views for layer in view.plan.hidden})),
            attention=tuple(sorted({head for view in views for head in view.plan.attention})),
        )
        evaluation = self.model.evaluate(window, self.cache, want)
        for view, computed in zip(lined, rows, strict=True):
            view.sheet.held = np.concatenate([view.sheet.held, computed])
        return self._sort_out(views, places, rows, slots, evaluation)

    def _drop(self, view: View, computed: Positions) -> None:
        """Drop from the cache what will be computed, and what the plan forgets."""
        sheet = view.sheet
        gone = np.zeros(len(view.ids), np.bool_)
        gone[computed] = True
        gone[view.plan.forget] = True
        stay = ~gone[sheet.held]
        kept = int(stay.sum())
        if stay[:kept].all():
            self.cache.truncate(sheet.row, kept)
        else:
            self.cache.keep(sheet.row, 0, np.flatnonzero(stay).tolist())
        sheet.held = sheet.held[stay]

    def _window(self, views: Sequence[View], rows: Sequence[Positions]) -> Window:
        size = max(len(each) for each in rows)
        tokens = np.zeros((len(views), size), np.int64)
        positions = np.zeros((len(views), size), np.int64)
        real = np.zeros((len(views), size), np.bool_)
        for r, (view, computed) in enumerate(zip(views, rows, strict=True)):
            tokens[r, : len(computed)] = view.ids[computed]
            positions[r, : len(computed)] = computed
            real[r, : len(computed)] = True
        visible = np.broadcast_to(real[:, None, :], (len(views), size, size)).copy()
        if self.masking.block is not None:
            block = positions // self.masking.block
            visible &= block[:, None, :] <= block[:, :, None]
            visible |= (~real)[:, :, None] & real[:, None, :]  # padding sees something, and is not read
        device = self.model.device
        return Window(
            rows=[view.sheet.row for view in views],
            tokens=torch.from_numpy(tokens).to(device),
            positions=torch.from_numpy(positions).to(device),
            lengths=[len(each) for each in rows],
            visible=torch.from_numpy(visible).to(device),
        )

    def _slots(self, view: View, computed: Positions) -> Positions:
        """Slots of the window in which the wanted positions are spoken of [n]."""
        slot = np.full(len(view.ids), -1)
        slot[computed] = np.arange(len(computed))
        return slot[sources(self.masking, view.wanted)]

    def _sort_out(
        self,
        views: Sequence[View],
        places: Sequence[int],
        rows: Sequence[Positions],
        slots: Sequence[Positions],
        evaluation: Evaluation,
    ) -> tuple[Tensor, list[Sight]]:
        assert evaluation.logits is not None
        parts, sights, start = [], [], 0
        for view, place in zip(views, places, strict=True):
            parts.append(evaluation.logits[place, : len(slots[place])])
            count = len(rows[place])
            reading = Reading(
                rows[place],
                view.sheet.held,
                {layer: evaluation.hidden[layer][place, :count] for layer in view.plan.hidden},
                {
                    head: evaluation.attention[head][place, :count, : len(view.sheet.held)]
                    for head in view.plan.attention
                },
            )
            sights.append(Sight(start, count, reading))
            start += len(slots[place])
        return (parts[0] if len(parts) == 1 else torch.cat(parts)), sights


def _padded(slots: Sequence[Positions], device: torch.device) -> Tensor:
    """Slot numbers side by side, [B, n]; shorter ones are filled up with the first slot."""
    size = max(len(each) for each in slots)
    table = np.zeros((len(slots), size), np.int64)
    for line, each in zip(table, slots, strict=True):
        line[: len(each)] = each
    return torch.from_numpy(table).to(device)
