"""The fast path where not one bit may change: plain, drafted and batched decoding compute the same numbers."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..errors import Unsupported
from . import sums
from .attention import shares_of_head
from .cache import Cache, KeyForm
from .contract import Ability, Want
from .lean import Lean, Visit, norm_heads
from .weights import Layer, Weights
from .window import Window

TRIED = 9  # tokens of the windows in which such a network is tried


class Bitwise(Lean):
    """The same network, each row's results the same bits whatever stands beside it; on the CPU.

    Products are `linear.Alike`; attention sums exactly (sums.py), over keys and values that the cache holds in float64;
    the rest goes number by number, or row by row as torch's norms do. Whether it is so here is tried when it is built:
    raises Unsupported where it is not.
    """

    abilities = Lean.abilities & ~Ability.GAZES

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights)
        self._apart = False  # two sums put together are not the bits of one
        self._open, self._shut = self._open.double(), self._shut.double()
        self._grids = sums.grids(weights.heads + weights.key_heads, weights.key_heads)
        self._key_grid, self._value_grid = sums.grids(1, 0), sums.grids(0, 1)
        require_alike(self)

    def new_cache(self, rows: int = 1, slots: int = 256, key_form: KeyForm = "rotated") -> Cache:
        """The same; twice as large."""
        cache = super().new_cache(1, 1, key_form)
        return Cache(replace(cache.shape, dtype=torch.float64), rows, slots, key_form)

    def _visit(self, window: Window, cache: Cache, want: Want) -> Visit:
        visit = super()._visit(window, cache, want)
        visit.turns = [turn.to(torch.complex128) for turn in visit.turns]
        visit.key_turns = [turn.to(torch.complex128) for turn in visit.key_turns]
        return visit

    def _gated(self, gate: Tensor) -> Tensor:
        return sums.gelu(gate) if self.weights.gelu else sums.silu(gate)

    def _attend(self, index: int, layer: Layer, flat: Tensor, visit: Visit) -> Tensor:
        weights, batch, slots = self.weights, visit.batch, visit.slots
        heads = flat.view(flat.shape[0], -1, weights.head_size)
        if layer.head_norms:
            heads = norm_heads(heads, layer.head_norms)
        heads = heads.to(torch.float64, copy=True)
        if layer.rotation is not None:
            heads = sums.turned(heads, visit.turns[layer.rotation])
        heads[:, : weights.heads].mul_(layer.scale)
        heads = sums.gridded(heads, self._grids)
        heads = heads.view(batch, visit.size, -1, weights.head_size) if slots is None else visit.unpack(heads)
        queries, keys, values = torch.split_with_sizes(heads, self._sizes, 2)  # of [B, T, all heads, size]
        queries = self._grouped(queries)
        keys, values = visit.cache.append(index, keys.transpose(1, 2), values.transpose(1, 2), visit.place)
        if not visit.cache.direct:
            keys, values = sums.gridded(keys, self._key_grid), sums.gridded(values, self._value_grid)
        if weights.score_cap is None and (read := visit.cache.read(index, queries, keys, values, 1.0)) is not None:
            return self._by_heads(read.to(self.dtype), visit)
        if layer.rotation is not None and visit.key_turns:
            keys = sums.turned(keys, visit.key_turns[layer.rotation])
            keys = sums.gridded(keys, self._key_grid)
        start, mask = visit.masks[layer.reach]
        if start > 0:
            keys, values = keys[:, :, start:], values[:, :, start:]
        for wanted, head in visit.wanted:
            if wanted == index:
                cap = weights.score_cap
                told = shares_of_head(head, self._group, queries, keys, mask, cap=cap, by=sums.shares)
                visit.attention[wanted, head] = told
        return self._by_heads(sums.attended(queries, keys, values, mask, weights.score_cap).to(self.dtype), visit)


def require_alike(model: Lean) -> None:
    """Tokens one by one, in one window, and beside others: raise Unsupported where any bit differs."""
    tokens = ((torch.arange(2 * TRIED, device=model.device) * 37 + 3) % model.vocabulary).tolist()
    cache = model.new_cache(3, 2 * TRIED)
    rows = [cache.open() for _ in range(3)]

    def logits(row: int, start: int, end: int) -> Tensor:
        found = model.evaluate(Window.chain([row], [tokens[start:end]], [start], model.device), cache).logits
        assert found is not None
        return found[0]

    for row in rows:
        logits(row, 0, TRIED)
    singly = torch.cat([logits(rows[0], at, at + 1) for at in range(TRIED, 2 * TRIED)])
    cache.truncate(rows[0], TRIED)
    cache.truncate(rows[2], TRIED // 2)
    starts, lengths = (TRIED, TRIED, TRIED // 2), (TRIED, 3, TRIED)
    parts = [tokens[start : start + length] for start, length in zip(starts, lengths, strict=True)]
    beside = model.evaluate(Window.chain(rows, parts, starts, model.device), cache).logits
    cache.truncate(rows[0], TRIED)
    together = logits(rows[0], TRIED, 2 * TRIED)
    if beside is None or not (torch.equal(singly, together) and torch.equal(singly, beside[0])):
        raise Unsupported(
            f"{model.name}: here a row's results depend on how many stand beside it", hint="use exact='tokens'"
        )
