"""Evaluates canvases over cached keys and values: any rows of any canvas, several canvases at once.

A sheet is one canvas's row of the cache. Its slots stand in any order, as attention does not care: rows that are
computed again are dropped and appended. Rows of the window come last, so that dropping them moves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..models.cache import Cache
from ..models.contract import Evaluation, Model, Want
from ..models.masked import Masking
from ..models.window import Branch, Window
from .contract import Plan, Reading, Span, none
from .proposal import Positions

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(slots=True, eq=False)
class Sheet:
    """Keys and values of one canvas."""

    row: int  # of the cache
    held: Positions = field(default_factory=none)  # [S] the position in each slot
    branches: dict[Branch, Tensor] = field(default_factory=dict)  # -> [L, C] by position, where a plan stores them
    hidden: dict[int, Tensor] = field(default_factory=dict)  # layer -> [S, C] what enters it, where a plan keeps that


@dataclass(slots=True, eq=False)
class View:
    """One canvas in one evaluation."""

    sheet: Sheet
    ids: Positions  # [L]
    plan: Plan
    window: Span  # its rows are put last
    wanted: Positions  # [n] positions whose logits are wanted, ascending
    doubts: Positions = field(default_factory=none)  # [a] of these, as if each of them alone were masked

    def rows(self, masking: Masking) -> Positions:
        """Everything that is computed, in the order of the slots: the plan, and what the wanted positions need."""
        computed = np.zeros(len(self.ids), np.bool_)
        computed[self.plan.rows] = True
        computed[sources(masking, self.wanted)] = True
        computed[self.doubts] = True  # so that they can be hidden from the rows that speak of them
        rows = np.flatnonzero(computed)
        late = (rows >= self.window.start) & (rows < self.window.end)
        return np.concatenate([rows[~late], rows[late]])

    def shadows(self, masking: Masking) -> tuple[Positions, Positions]:
        """Rows beside the canvas, that are not kept: where they stand [s], and which doubt each serves [s].

        For each such position one row that bears the mask in its place, and where another row speaks of it a copy of
        that one. The two see each other, and the canvas but for what they stand in for.
        """
        if not len(self.doubts):
            return none(), none()
        speaks = sources(masking, self.doubts)
        other = speaks != self.doubts
        return np.concatenate([self.doubts, speaks[other]]), np.concatenate([self.doubts, self.doubts[other]])


def sources(masking: Masking, positions: Positions) -> Positions:
    """The rows that speak of these positions."""
    return np.maximum(positions - 1, 0) if masking.shift else positions


@dataclass(slots=True, eq=False)
class Sight:
    """What came out for one view."""

    start: int  # its first line in the logits
    computed: int  # rows that were evaluated
    reading: Reading
    redone: int = 0  # rows that were evaluated once more
    layers: int = 0  # in so many layers


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
        rows = self.cache.fork(sheet.row, count, fixed=0)  # any slot may be computed again
        return [Sheet(row, sheet.held.copy(), dict(sheet.branches), dict(sheet.hidden)) for row in rows]

    def close(self, sheet: Sheet) -> None:
        """Give its row of the cache back."""
        self.cache.free(sheet.row)

    def evaluate(self, views: Sequence[View]) -> tuple[Tensor, list[Sight]]:
        """All views at once: logits [N, V] of the wanted positions, view after view, and what was seen.

        Views that reuse other parts of the network than the rest are evaluated apart.
        """
        kinds = list(dict.fromkeys(view.plan.reuse for view in views))
        if len(kinds) == 1:
            return self._together(views)
        parts: dict[int, tuple[Tensor, Sight]] = {}
        for kind in kinds:
            at = [each for each, view in enumerate(views) if view.plan.reuse == kind]
            logits, sights = self._together([views[each] for each in at])
            for each, sight in zip(at, sights, strict=True):
                parts[each] = logits[sight.start : sight.start + len(views[each].wanted)], sight
        starts = np.cumsum([0, *(len(view.wanted) for view in views)]).tolist()
        found = [replace(parts[each][1], start=starts[each]) for each in range(len(views))]
        return torch.cat([parts[each][0] for each in range(len(views))]), found

    def _together(self, views: Sequence[View]) -> tuple[Tensor, list[Sight]]:
        """One evaluation."""
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
            hidden=tuple(sorted({layer for view in views for layer in (*view.plan.hidden, *self._kept(view))})),
            attention=tuple(sorted({head for view in views for head in view.plan.attention})),
            branches=tuple(sorted({branch for view in views for branch in view.plan.store})),
        )
        self._give(window, lined, rows)
        evaluation = self.model.evaluate(window, self.cache, want)
        for place, (view, computed) in enumerate(zip(lined, rows, strict=True)):
            held = view.sheet.held
            for layer in self._kept(view):
                fresh = evaluation.hidden[layer][place, : len(computed)]
                stale = view.sheet.hidden.get(layer, fresh[:0])
                assert len(stale) == len(held), "hidden rows are kept from the first evaluation on"
                view.sheet.hidden[layer] = torch.cat([stale, fresh])
            view.sheet.held = np.concatenate([held, computed])
            for branch in view.plan.store:
                fresh = evaluation.branches[branch][place, : len(computed)]
                view.sheet.branches[branch] = torch.zeros_like(fresh)
                view.sheet.branches[branch][torch.from_numpy(computed).to(fresh.device)] = fresh
            if len(view.doubts):
                self.cache.truncate(view.sheet.row, len(view.sheet.held))
        return self._sort_out(views, places, rows, slots, evaluation)

    def redo(self, view: View, sight: Sight, layer: int) -> tuple[Tensor, Sight]:
        """Compute everything that a sheet holds once more from a layer on: logits [n, V], and what is seen then.

        What enters the layer was kept, of each row from when it was last computed. For models that see everything.
        """
        assert not len(view.doubts), "rows beside the canvas are not kept"
        sheet, size = view.sheet, len(view.sheet.held)
        self.cache.truncate(sheet.row, 0, layer)
        window = Window(
            rows=[sheet.row],
            tokens=torch.from_numpy(view.ids[sheet.held])[None].to(self.model.device),
            positions=torch.from_numpy(sheet.held)[None].to(self.model.device),
            lengths=[size],
            everyone=True,
            layers=(layer, self.model.layers),
            hidden=sheet.hidden[layer][None],
        )
        slots = np.argsort(sheet.held)[np.searchsorted(np.sort(sheet.held), sources(self.masking, view.wanted))]
        above = [each for each in self._kept(view) if each > layer]
        heads = tuple(head for head in view.plan.attention if head[0] >= layer)
        want = Want(torch.from_numpy(slots)[None].to(self.model.device), hidden=tuple(above), attention=heads)
        found = self.model.evaluate(window, self.cache, want)
        for each in above:
            sheet.hidden[each] = found.hidden[each][0]
        assert found.logits is not None
        begin = size - len(sight.reading.rows)  # what was computed first stands last
        attention = {head: found.attention[head][0, begin:] for head in heads}
        reading = replace(sight.reading, attention={**sight.reading.attention, **attention})
        return found.logits[0], replace(sight, reading=reading, redone=size, layers=self.model.layers - layer)

    def _give(self, window: Window, views: Sequence[View], rows: Sequence[Positions]) -> None:
        """Put what is reused into the window [B, T, C]; all views reuse the same."""
        size = window.tokens.shape[1]
        for branch in views[0].plan.reuse:
            parts = []
            for view, computed in zip(views, rows, strict=True):
                stored = view.sheet.branches[branch]
                assert len(stored) == len(computed), "a part of the network is reused where everything is computed"
                part = stored[torch.from_numpy(computed).to(stored.device)]
                parts.append(torch.nn.functional.pad(part, (0, 0, 0, size - len(part))))
            window.given[branch] = torch.stack(parts)

    def _kept(self, view: View) -> range:
        """The layers whose entering rows stay; what enters the first is known from the tokens."""
        return range(1, self.model.layers) if view.plan.keep else range(0)

    def _drop(self, view: View, computed: Positions) -> None:
        """Drop from the cache what will be computed, and what the plan forgets."""
        sheet = view.sheet
        gone = np.zeros(max(len(view.ids), sheet.held.max(initial=-1) + 1), np.bool_)
        gone[len(view.ids) :] = True  # the canvas was cut
        gone[computed] = True
        gone[view.plan.forget] = True
        stay = ~gone[sheet.held]
        kept = int(stay.sum())
        if stay[:kept].all():
            self.cache.truncate(sheet.row, kept)
        else:
            self.cache.keep(sheet.row, 0, np.flatnonzero(stay).tolist())
        sheet.held = sheet.held[stay]
        if sheet.hidden and kept < len(stay):
            at = torch.from_numpy(np.flatnonzero(stay)).to(self.model.device)
            sheet.hidden = {layer: rows[at] for layer, rows in sheet.hidden.items()}

    def _window(self, views: Sequence[View], rows: Sequence[Positions]) -> Window:
        beside = [view.shadows(self.masking) for view in views]
        lengths = [len(each) + len(places) for each, (places, _) in zip(rows, beside, strict=True)]
        size = max(lengths)
        tokens = np.zeros((len(views), size), np.int64)
        positions = np.zeros((len(views), size), np.int64)
        real = np.zeros((len(views), size), np.bool_)
        for r, (view, computed) in enumerate(zip(views, rows, strict=True)):
            places, owners = beside[r]
            tokens[r, : len(computed)] = view.ids[computed]
            tokens[r, len(computed) : lengths[r]] = np.where(places == owners, self.masking.mask, view.ids[places])
            positions[r, : lengths[r]] = np.concatenate([computed, places])
            real[r, : lengths[r]] = True
        visible = self._visible(views, rows, positions, real)
        device = self.model.device
        return Window(
            rows=[view.sheet.row for view in views],
            tokens=torch.from_numpy(tokens).to(device),
            positions=torch.from_numpy(positions).to(device),
            lengths=lengths,
            visible=None if visible is None else torch.from_numpy(visible).to(device),
            everyone=visible is None,
        )

    def _visible(
        self, views: Sequence[View], rows: Sequence[Positions], positions: Positions, real: NDArray[np.bool_]
    ) -> NDArray[np.bool_] | None:
        """Who sees whom [B, T, T] of slots at these positions [B, T], of which some are real; None: everyone."""
        owners = [view.shadows(self.masking)[1] for view in views]
        blind = np.array([view.plan.blind for view in views])[:, None]
        if self.masking.block is None and not blind.any() and not any(map(len, owners)):
            return None
        visible: NDArray[np.bool_] = np.broadcast_to(real[:, None, :], (*real.shape, real.shape[1])).copy()
        for seen, computed, each in zip(visible, rows, owners, strict=True):
            self._hide(seen, computed, each)
        if self.masking.block is not None:
            block = positions // self.masking.block
            visible &= block[:, None, :] <= block[:, :, None]
            visible |= (~real)[:, :, None] & real[:, None, :]  # padding sees something, and is not read
        if blind.any():
            visible &= ~((real & (positions < blind))[:, :, None] & (positions >= blind)[:, None, :])
        return visible

    def _hide(self, seen: NDArray[np.bool_], computed: Positions, owners: Positions) -> None:
        """Let the canvas see no shadow, and each shadow its like, but nothing that these stand in for: seen [T, T]."""
        if not len(owners):
            return
        start, end = len(computed), len(computed) + len(owners)
        seen[:, start:end] = False
        seen[start:end, start:end] = owners[:, None] == owners
        seen[start:end, :start] &= (computed != owners[:, None]) & (computed != sources(self.masking, owners)[:, None])

    def _slots(self, view: View, computed: Positions) -> Positions:
        """Slots of the window in which the wanted positions are spoken of [n]."""
        slot = np.full(len(view.ids), -1)
        slot[computed] = np.arange(len(computed))
        slots: Positions = slot[sources(self.masking, view.wanted)]
        if len(view.doubts):
            places, owners = view.shadows(self.masking)
            speaking = np.flatnonzero(places == sources(self.masking, owners))
            slots[np.searchsorted(view.wanted, owners[speaking])] = len(computed) + speaking
        return slots

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
                {branch: evaluation.branches[branch][place, :count] for branch in view.plan.store},
            )
            beside = len(view.shadows(self.masking)[0])
            sights.append(Sight(start, count + beside, reading))
            start += len(slots[place])
        return (parts[0] if len(parts) == 1 else torch.cat(parts)), sights


def _padded(slots: Sequence[Positions], device: torch.device) -> Tensor:
    """Slot numbers side by side, [B, n]; shorter ones are filled up with the first slot."""
    size = max(len(each) for each in slots)
    table = np.zeros((len(slots), size), np.int64)
    for line, each in zip(table, slots, strict=True):
        line[: len(each)] = each
    return torch.from_numpy(table).to(device)
