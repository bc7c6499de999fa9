"""Evaluates canvases over kept keys and values: any rows of any canvas, several canvases at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..models.cache import Cache
from ..models.contract import Evaluation, Model, Want
from ..models.masked import Masking
from ..models.window import Window
from .layout import padded, slots_of, window_of
from .prediction import Positions
from .refresh.contract import Observation
from .views import CanvasMemory, CanvasOutput, CanvasView, sources

if TYPE_CHECKING:
    from torch import Tensor


class CanvasEvaluator:
    """One model and one cache, in which each canvas has a row."""

    def __init__(self, model: Model, masking: Masking, cache: Cache) -> None:
        self.model = model
        self.masking = masking
        self.cache = cache

    def open(self) -> CanvasMemory:
        """A row of the cache that holds nothing."""
        return CanvasMemory(self.cache.open())

    def fork(self, memory: CanvasMemory, count: int = 1) -> list[CanvasMemory]:
        """Copies: several canvases that share what was computed so far."""
        rows = self.cache.fork(memory.row, count, fixed=0)  # any slot may be computed again
        return [CanvasMemory(row, memory.held.copy(), dict(memory.branches), dict(memory.hidden)) for row in rows]

    def close(self, memory: CanvasMemory) -> None:
        """Give its row of the cache back."""
        self.cache.free(memory.row)

    def evaluate(self, views: Sequence[CanvasView]) -> tuple[Tensor, list[CanvasOutput]]:
        """All views at once: logits [N, V] of the wanted positions, view after view, and what was seen.

        Views that reuse other parts of the network than the rest are evaluated apart.
        """
        kinds = list(dict.fromkeys(view.plan.reuse for view in views))
        if len(kinds) == 1:
            return self._together(views)
        parts: dict[int, tuple[Tensor, CanvasOutput]] = {}
        for kind in kinds:
            at = [each for each, view in enumerate(views) if view.plan.reuse == kind]
            logits, outputs = self._together([views[each] for each in at])
            for each, output in zip(at, outputs, strict=True):
                parts[each] = logits[output.start : output.start + len(views[each].wanted)], output
        starts = np.cumsum([0, *(len(view.wanted) for view in views)]).tolist()
        found = [replace(parts[each][1], start=starts[each]) for each in range(len(views))]
        return torch.cat([parts[each][0] for each in range(len(views))]), found

    def _together(self, views: Sequence[CanvasView]) -> tuple[Tensor, list[CanvasOutput]]:
        """One evaluation."""
        order = {row: at for at, row in enumerate(self.cache.in_order([view.memory.row for view in views]))}
        places = [order[view.memory.row] for view in views]  # in the batch: as in the cache's blocks
        batch = sorted(views, key=lambda view: order[view.memory.row])
        rows = [view.rows(self.masking) for view in batch]
        for view, computed in zip(batch, rows, strict=True):
            self._drop(view, computed)
        window = window_of(batch, rows, self.masking, self.model.device)
        slots = [slots_of(view, computed, self.masking) for view, computed in zip(batch, rows, strict=True)]
        want = Want(
            logits=padded(slots, self.model.device),
            hidden=tuple(sorted({layer for view in views for layer in self._kept(view)})),
            attention=tuple(sorted({head for view in views for head in view.plan.attention})),
            branches=tuple(sorted({branch for view in views for branch in view.plan.store})),
        )
        self._give(window, batch, rows)
        evaluation = self.model.evaluate(window, self.cache, want)
        for place, (view, computed) in enumerate(zip(batch, rows, strict=True)):
            self._remember(view, computed, evaluation, place)
        return self._sort_out(views, places, rows, slots, evaluation)

    def _remember(self, view: CanvasView, computed: Positions, evaluation: Evaluation, place: int) -> None:
        """Note what the evaluation added to the memory of one view, row `place` of the batch."""
        memory = view.memory
        for layer in self._kept(view):
            fresh = evaluation.hidden[layer][place, : len(computed)]
            stale = memory.hidden.get(layer, fresh[:0])
            assert len(stale) == len(memory.held), "hidden rows are kept from the first evaluation on"
            memory.hidden[layer] = torch.cat([stale, fresh])
        memory.held = np.concatenate([memory.held, computed])
        for branch in view.plan.store:
            fresh = evaluation.branches[branch][place, : len(computed)]
            memory.branches[branch] = torch.zeros_like(fresh)
            memory.branches[branch][torch.from_numpy(computed).to(fresh.device)] = fresh
        if len(view.rechecked):  # what stood beside the canvas goes
            self.cache.truncate(memory.row, len(memory.held))

    def redo(self, view: CanvasView, output: CanvasOutput, layer: int) -> tuple[Tensor, CanvasOutput]:
        """Compute everything that is held once more from a layer on: logits [n, V], and what is seen then.

        What enters the layer was kept, of each row from when it was last computed. For models that see everything.
        """
        assert not len(view.rechecked), "rows beside the canvas are not kept"
        memory, size = view.memory, len(view.memory.held)
        self.cache.truncate(memory.row, 0, layer)
        window = Window(
            rows=[memory.row],
            tokens=torch.from_numpy(view.ids[memory.held])[None].to(self.model.device),
            positions=torch.from_numpy(memory.held)[None].to(self.model.device),
            lengths=[size],
            everyone=True,
            layers=(layer, self.model.layers),
            hidden=memory.hidden[layer][None],
        )
        slots = np.argsort(memory.held)[np.searchsorted(np.sort(memory.held), sources(self.masking, view.wanted))]
        above = [each for each in self._kept(view) if each > layer]
        heads = tuple(head for head in view.plan.attention if head[0] >= layer)
        want = Want(torch.from_numpy(slots)[None].to(self.model.device), hidden=tuple(above), attention=heads)
        found = self.model.evaluate(window, self.cache, want)
        for each in above:
            memory.hidden[each] = found.hidden[each][0]
        assert found.logits is not None
        begin = size - len(output.seen.rows)  # what was computed first stands last
        attention = {head: found.attention[head][0, begin:] for head in heads}
        seen = replace(output.seen, attention={**output.seen.attention, **attention})
        return found.logits[0], replace(output, seen=seen, redone=size, layers=self.model.layers - layer)

    def _give(self, window: Window, views: Sequence[CanvasView], rows: Sequence[Positions]) -> None:
        """Put what is reused into the window [B, T, C]; all views reuse the same."""
        size = window.tokens.shape[1]
        for branch in views[0].plan.reuse:
            parts = []
            for view, computed in zip(views, rows, strict=True):
                stored = view.memory.branches[branch]
                assert len(stored) == len(computed), "a part of the network is reused where everything is computed"
                part = stored[torch.from_numpy(computed).to(stored.device)]
                parts.append(torch.nn.functional.pad(part, (0, 0, 0, size - len(part))))
            window.given[branch] = torch.stack(parts)

    def _kept(self, view: CanvasView) -> range:
        """The layers whose entering rows stay; what enters the first is known from the tokens."""
        return range(1, self.model.layers) if view.plan.keep else range(0)

    def _drop(self, view: CanvasView, computed: Positions) -> None:
        """Drop from the cache what will be computed, and what the plan forgets."""
        memory = view.memory
        gone = np.zeros(max(len(view.ids), memory.held.max(initial=-1) + 1), np.bool_)
        gone[len(view.ids) :] = True  # the canvas was cut
        gone[computed] = True
        gone[view.plan.forget] = True
        stay = ~gone[memory.held]
        kept = int(stay.sum())
        if stay[:kept].all():
            self.cache.truncate(memory.row, kept)
        else:
            self.cache.keep(memory.row, 0, np.flatnonzero(stay).tolist())
        memory.held = memory.held[stay]
        if memory.hidden and kept < len(stay):
            at = torch.from_numpy(np.flatnonzero(stay)).to(self.model.device)
            memory.hidden = {layer: rows[at] for layer, rows in memory.hidden.items()}

    def _sort_out(
        self,
        views: Sequence[CanvasView],
        places: Sequence[int],
        rows: Sequence[Positions],
        slots: Sequence[Positions],
        evaluation: Evaluation,
    ) -> tuple[Tensor, list[CanvasOutput]]:
        assert evaluation.logits is not None
        parts, outputs, start = [], [], 0
        for view, place in zip(views, places, strict=True):
            parts.append(evaluation.logits[place, : len(slots[place])])
            count, held = len(rows[place]), view.memory.held
            seen = Observation(
                rows[place],
                held,
                {head: evaluation.attention[head][place, :count, : len(held)] for head in view.plan.attention},
                {branch: evaluation.branches[branch][place, :count] for branch in view.plan.store},
            )
            outputs.append(CanvasOutput(start, count + len(view.beside(self.masking)[0]), seen))
            start += len(slots[place])
        return (parts[0] if len(parts) == 1 else torch.cat(parts)), outputs
