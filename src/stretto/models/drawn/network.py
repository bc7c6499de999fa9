"""The fast path where all products are over blocks: layers drawn for ggml, as many of them in one call as there is
nothing to be done between.

Every row is computed by itself, and reads its keys and values one after another in the order of their slots: the same
bits come out whatever stands beside it, in whichever windows its tokens are read, and wherever they lie.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from ..bitwise import require_alike
from ..cache import Cache
from ..contract import Ability, Evaluation, Want
from ..lean import Lean, Visit, capped, real_slots, turn_of
from ..linear import threads_for
from ..place import Reach, visibility
from ..rotation import turn_table
from ..sums import shares, turned
from ..weights import Weights
from ..window import Window
from .coded import LARGEST, NARROW
from .drawing import Drawing, Program
from .ggml import INT32, INT64, library, threads, without_torch_threads
from .layer import DrawnLayer, drawn_head, in_floats
from .reader import Aim, Lying, Part, Readers, Share, Sight

KEPT = 32  # programs of all layers, or more of fewer: each layer holds some memory
READY = (1, 2, 3, 4)  # rows of programs that are made at once
FEW = 16  # tensors that are no layer's
A_LAYER, A_PART, A_ROW = 64, 8, 8  # tensors of a layer, of each kind of blocks and row of the window in it, at most

What = tuple[Hashable, Callable[[Drawing, Readers], int], int]  # a name for what is drawn, how, and how many layers
Masks = Mapping[Reach, Tensor]  # what to add to scores, [B or 1, T, S] float16


class Drawn(Lean):
    """The same network; on the CPU. Raises Unsupported where a row's bits depend on what stands beside it.

    Of float32 matrices wide windows are computed by torch's kernels, and bits are not promised.
    """

    abilities = Lean.abilities & ~Ability.GAZES

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights)
        self._apart = False  # sums that are put together are not the bits of one
        self.wide = Lean(weights) if in_floats(weights) else None  # for windows of more than NARROW rows
        self.numbers = replace(self.numbers, bits=self.wide is None)
        self._layers = [DrawnLayer(weights, index) for index in range(self.layers)]
        self._parts = max(layer.parts for layer in self._layers)
        self._head = drawn_head(weights)
        self._shape = weights.heads, weights.key_heads, weights.head_size
        self._programs: OrderedDict[tuple[Hashable, int, int, int, bool, int], tuple[Program, Aim]] = OrderedDict()
        self._drawn = 0  # layers in all of them
        self._turn_one = [turn_table(each, 1, 0) for each in weights.rotations]
        for rows in READY:  # so that the first windows of these sizes need not wait
            with threads_for(rows * weights.parameters):
                self._program(self._layers_between(0, self.layers), rows, 1, masked=rows > 1)
        if self.wide is None and not weights.wish.tried:
            require_alike(self)

    # -- one evaluation -----------------------------------------------------------------------------

    def evaluate(self, window: Window, cache: Cache, want: Want = Want()) -> Evaluation:
        """See `Model.evaluate`. Raises ModelError where what comes out is not finite."""
        if self.wide is not None and sum(window.lengths) > NARROW:
            return self.wide.evaluate(window, cache, want)
        with threads_for(sum(window.lengths) * self.weights.parameters), without_torch_threads():
            return super().evaluate(window, cache, want)

    def _visit(self, window: Window, cache: Cache, want: Want) -> Visit:
        place = cache.place(window)
        batch, size = window.tokens.shape
        visit = DrawnVisit(place, cache, batch, size, real_slots(window), want.attention, want.branches)
        visit.given = {branch: visit.pack(rows) for branch, rows in window.given.items()}
        visit.positions = visit.pack(window.positions[:, :, None])[:, 0]
        first, last = window.layers or (0, self.layers)
        visit.seen = _masks(visit, {layer.reach for layer in self.weights.layers[first:last]})
        if cache.key_form == "raw":
            places = cache.positions(place)[:, None, :, None], visit.positions[:, None, None]
            visit.key_turns, visit.turns = (
                [turn_of(each, table).to(torch.complex128) for table in self._turn_one] for each in places
            )
        elif cache.direct and not (place.gathered or visit.given or want.branches):
            ordered = window.visible is None and not window.everyone  # nobody sees what stands behind
            if ordered or len(visit.positions) <= LARGEST:
                visit.shares = _shares(visit, place.own.starts)
        return visit

    def _through(self, start: int, end: int, rows: Tensor, visit: Visit) -> Tensor:
        assert isinstance(visit, DrawnVisit)
        if not visit.shares:
            return super()._through(start, end, rows, visit)
        told = sorted({layer for layer, _ in visit.wanted if start <= layer < end})  # whose attention is told
        for layer in told:
            rows = super()._through(layer, layer + 1, self._drawn_through(start, layer, rows, visit), visit)
            start = layer + 1
        return self._drawn_through(start, end, rows, visit)

    def _drawn_through(self, start: int, end: int, rows: Tensor, visit: DrawnVisit) -> Tensor:
        """The same in one call."""
        if start == end:
            return rows
        keys, values = visit.cache.blocks
        masks = None if visit.seen is None else [visit.seen[layer.reach] for layer in self.weights.layers[start:end]]
        sight = Sight(Lying.of(keys[start:end]), Lying.of(values[start:end]), masks)
        left = torch.empty_like(rows)
        for share, slots in visit.shares:
            part = slice(share.first, share.first + share.rows)
            inputs = rows[part], visit.positions[part], slots
            left[part] = self._run(self._layers_between(start, end), share, inputs, sight)
        return left

    def _layers_between(self, start: int, end: int) -> What:
        def draw(drawing: Drawing, readers: Readers) -> int:
            x = drawing.rows_of(self.channels)
            positions = drawing.rows_of(kind=INT32)
            slots = drawing.rows_of(self._shape[1], kind=INT64)
            for layer in self._layers[start:end]:
                x = layer.draw(drawing, x, positions, slots, readers)
                drawing.turn()
            return x

        return (start, end), draw, end - start

    def _run(self, what: What, share: Share, inputs: Sequence[Tensor], sight: Sight) -> Tensor:
        """What is drawn over some rows."""
        with library().lock:
            program, aim = self._program(what, share.rows, len(share.counts), masked=sight.masks is not None)
            for place, each in zip(program.inputs, inputs, strict=True):
                place.copy_(each)
            aim(share, sight)
            program.run()
            return program.result.clone()

    def _program(self, what: What, rows: int, count: int, *, masked: bool) -> tuple[Program, Aim]:
        """What is drawn over so many rows, of `count` rows of a window; made once, and kept for a while."""
        name, draw, layers = what
        key = (name, layers, rows, count, masked, threads())
        if key not in self._programs:
            drawing = Drawing(rows, FEW + layers * (A_LAYER + A_PART * self._parts + A_ROW * count))
            readers = Readers(drawing, count, self._shape, masked=masked)
            self._programs[key] = Program(drawing, draw(drawing, readers), threads()), Aim(readers)
            self._drawn += layers
            while self._drawn > KEPT * self.layers:
                self._drawn -= self._programs.popitem(last=False)[0][1]
        self._programs.move_to_end(key)
        return self._programs[key]

    # -- a layer part by part -----------------------------------------------------------------------

    def _attention(self, index: int, rows: Tensor, visit: Visit) -> Tensor:
        assert isinstance(visit, DrawnVisit)
        drawn, (heads, key_heads, size) = self._layers[index], self._shape
        layer = drawn.layer
        found = drawn.raw_heads(rows) if visit.key_turns else drawn.heads(rows, visit.positions)
        queries, keys, values = torch.split_with_sizes(found.view(len(rows), -1, size), self._sizes, 1)
        turn = layer.rotation if visit.key_turns else None
        if turn is not None:
            queries = turned(queries.double().contiguous(), visit.turns[turn]).float()
        keys, values = (visit.unpack(each).transpose(1, 2) for each in (keys, values))
        keys, values = visit.cache.append(index, keys, values, visit.place)
        if not visit.cache.direct and self.weights.score_cap is None:
            asking = self._grouped(visit.unpack(queries))
            if (read := visit.cache.read(index, asking, keys, values, layer.scale)) is not None:
                return drawn.out(self._by_heads(read.to(self.dtype), visit), rows)
        if turn is not None:
            keys = turned(keys.double().contiguous(), visit.key_turns[turn]).float()
        mask = None if visit.seen is None else visit.seen[layer.reach]
        for wanted, head in visit.wanted:
            if wanted == index:
                asked = visit.unpack(queries[:, head]) * layer.scale
                shut = None if mask is None else mask.double()
                visit.attention[wanted, head] = shares(
                    asked, keys[:, head * key_heads // heads], shut, self.weights.score_cap
                )
        return drawn.out(self._read(index, queries.flatten(1), keys, values, visit), rows)

    def _read(self, index: int, queries: Tensor, keys: Tensor, values: Tensor, visit: DrawnVisit) -> Tensor:
        """What queries [N, heads * size] read of [B, H, S, size]: [N, heads * size]."""
        layer, (heads, _, size) = self.weights.layers[index], self._shape
        masks = None if visit.seen is None else [visit.seen[layer.reach]]
        sight = Sight(Lying.of(keys[None]), Lying.of(values[None]), masks)

        def draw(drawing: Drawing, readers: Readers) -> int:
            given = drawing.rows_of(heads * size)
            return readers.read(Part(given, 0, heads * size), layer.scale, self.weights.score_cap)

        found = []
        for share, _ in _shares(visit, visit.place.read.starts, apart=True):
            inputs = [queries[share.first : share.first + share.rows]]
            found.append(self._run((("read", layer.scale), draw, 1), share, inputs, sight))
        return torch.cat(found)

    def _mlp(self, index: int, rows: Tensor) -> Tensor:
        return self._layers[index].mlp(rows)

    def _logits(self, rows: Tensor) -> Tensor:
        if self.wide is not None and len(rows) > NARROW:
            return self.wide._logits(rows)
        return capped(self._head(rows), self.weights.logit_cap)


@dataclass(slots=True)
class DrawnVisit(Visit):
    """The same, and what programs are told."""

    positions: Tensor = field(init=False)  # [N]
    seen: Masks | None = None  # None: every row sees all that it has up to itself
    shares: list[tuple[Share, Tensor]] = field(default_factory=list)  # with the slots that each writes; empty: layers
    # are computed part by part


def _masks(visit: DrawnVisit, reaches: set[Reach]) -> Masks | None:
    """What rows may not read, by reach of a layer."""
    window, place = visit.place.window, visit.place
    alone = window.tokens.shape[1] == 1 and not visit.wanted  # attention is told over the slots of the longest row
    if alone and (reaches == {None} or _within(window, reaches)):
        return None
    seen = {reach: visibility(place, visit.cache, reach) for reach in reaches}
    if all(each is None for each in seen.values()):
        return None
    every = torch.ones(1, 1, window.tokens.shape[1], place.read.end, dtype=torch.bool)
    return {reach: _shut(every if each is None else each) for reach, each in seen.items()}


def _within(window: Window, reaches: set[Reach]) -> bool:
    """Whether no query stands so far back that it does not see the beginning."""
    last = int(window.positions.max())
    return all(reach is None or (isinstance(reach, int) and last < reach) for reach in reaches)


def _shut(seen: Tensor) -> Tensor:
    """[B or 1, 1, T, S] bool -> [B or 1, T, S] float16."""
    return torch.zeros(seen.shape, dtype=torch.float16).masked_fill_(~seen, -torch.inf)[:, 0]


def _shares(visit: DrawnVisit, starts: Sequence[int], *, apart: bool = False) -> list[tuple[Share, Tensor]]:
    """The rows, as many at a time as a program computes, and the slots [n, key heads] that they write.

    `starts`: how many slots each row of the window has before it. `apart`: keys and values are a window's own, as
    `Cache.append` returns them; else those of all rows of the cache.
    """
    window, place_of = visit.place.window, visit.cache.place_of
    behind = apart or window.everyone or window.visible is not None  # some may see what stands behind them
    shares, done = [], 0
    for part in _cut(window.lengths):
        batch, queries, counts = zip(*part, strict=True)
        places = batch if apart else [place_of(window.rows[row]) for row in batch]
        seen = [starts[row] + (window.lengths[row] if behind else first + count) for row, first, count in part]
        share = Share(done, *map(np.array, (counts, places, seen, queries, batch)))
        begins = [starts[row] + first for row, first in zip(batch, queries, strict=True)]
        shares.append((share, visit.positions if apart else _slots(visit, share, np.array(begins))))
        done += share.rows
    return shares


def _cut(lengths: Sequence[int]) -> list[list[tuple[int, int, int]]]:
    """Parts of so many queries: (row of the window, its first query, how many)."""
    parts: list[list[tuple[int, int, int]]] = [[]]
    room = LARGEST
    for row, length in enumerate(lengths):
        first = 0
        while first < length:
            if not room:
                parts.append([])
                room = LARGEST
            count = min(length - first, room)
            parts[-1].append((row, first, count))
            first, room = first + count, room - count
    return [part for part in parts if part]


def _slots(visit: DrawnVisit, share: Share, begins: np.ndarray) -> Tensor:
    """[n, key heads] where rows are written, counted over all rows, heads and slots of a layer."""
    _, _, heads, slots, _ = visit.cache.blocks[0].shape
    rows = share.places * (heads * slots) + begins
    if share.rows > len(begins):
        each = np.concatenate([np.arange(count) for count in share.counts])
        rows = np.repeat(rows, share.counts) + each
    return torch.from_numpy(rows[:, None] + np.arange(0, heads * slots, slots))
