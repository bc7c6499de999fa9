"""The fast path: Llama-shaped networks as a few torch calls per layer, over fused weights.

RMS norm, rotary positions, grouped heads, gated MLP; optional biases, per-head query/key norms, norms of what is
added, sliding windows, rotations by type of layer, layers without positions, scaled residuals, soft caps. The weights
are read out of a loaded module (fuse.py), which must agree at probing positions (fast.py). What makes it fast,
measured on small models, where each torch call costs 1 to 4 microseconds and the products themselves 5 to 30:

- Products read few bytes and run in the kernel that is fastest for the window (linear.py).
- Queries, keys and values are one product; so are gate and up. Additions to the residual ride along.
- Channels of a head are ordered so that those that turn together are neighbours: rotation is one complex
  multiplication for all heads; values, which do not turn, are multiplied by 1.
- Query heads that share a key head are laid one behind another as more queries of it: keys are never copied.
- Cache views and masks are cut once per evaluation for all layers.
- Rows of unequal length are laid one behind another for everything but attention: padding costs nothing there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import shares, shares_of_head
from .blocks import CacheShape
from .cache import Cache, KeyForm
from .contract import Ability, Evaluation, Want
from .linear import Linear, threads_for
from .numbers import Numbers
from .place import Place, visibility, visibility_of_trunk
from .quantised import Quantised
from .rotation import turn_table
from .sound import fault, sound
from .trunk import Standing, attend_apart
from .weights import Layer, Norm, Weights
from .window import RAW, Branch, Window

if TYPE_CHECKING:
    from .gazes import Regard

PART = 512  # slots that attention sums at a time (torch's kernel on the CPU)


class Lean:
    """A Llama-shaped network as a `Model`; built by `lean_or_none` (fast.py)."""

    abilities = Ability.ALL | Ability.BRANCHES

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.name = weights.name
        self.vocabulary, self.channels = weights.table.shape
        self.layers = len(weights.layers)
        self.heads = weights.heads
        self.max_positions = weights.max_positions
        self.device = weights.final_norm.gain.device
        self.dtype = weights.dtype
        self._apart = self.device.type == "cpu" and weights.score_cap is None  # what rows share is read by itself
        wish, dtype = weights.wish, str(self.dtype).removeprefix("torch.")
        self.numbers = Numbers(dtype, weights.blocks, wish.bits, wish.settled, weights.kernels)
        self._group = weights.heads // weights.key_heads
        self._open, self._shut = torch.tensor([0.0, -torch.inf], dtype=self.dtype, device=self.device)
        self._sizes = [weights.heads, weights.key_heads, weights.key_heads]
        turning = [weights.heads + weights.key_heads, weights.key_heads]  # heads that turn, heads that do not
        self._turn_all = [turn_table(each, *turning) for each in weights.rotations]
        self._turn_queries = [turn_table(each, weights.heads, 2 * weights.key_heads) for each in weights.rotations]
        self._turn_key = [turn_table(each, 1, 0) for each in weights.rotations]

    def new_cache(self, rows: int = 1, slots: int = 256, key_form: KeyForm = "rotated") -> Cache:
        """An empty cache of this model's shape; the channels of a key are in this model's order."""
        size = self.weights.head_size
        shape = CacheShape(self.layers, self.weights.key_heads, size, size, self.dtype, self.device)
        return Cache(shape, rows, slots, key_form)

    @torch.inference_mode()
    def evaluate(self, window: Window, cache: Cache, want: Want = Want()) -> Evaluation:
        """See `Model.evaluate`. Logits are read from the last layer that runs.

        Raises ModelError where what comes out is not finite.
        """
        with threads_for(sum(window.lengths) * self.weights.parameters):
            found, rows = self._evaluate(window, cache, want)
            if not sound(found, want, window.lengths, rows):
                raise fault(self, lambda *again: self._evaluate(*again)[0], window, cache)
            return found

    @torch.inference_mode()
    def embed(self, tokens: Tensor) -> Tensor:
        """Rows of the embedding table, before any scaling (raw rows of a window are scaled alike)."""
        return _rows_of(self.weights.table, tokens)

    @torch.inference_mode()
    def read_out(self, hidden: Tensor) -> Tensor:
        """Final norm and head on the output rows of any layer: [..., C] -> [..., V] float32."""
        return self._logits(hidden.reshape(-1, self.channels)).view(*hidden.shape[:-1], -1)

    # -- one evaluation ---------------------------------------------------------------------------

    def _evaluate(self, window: Window, cache: Cache, want: Want) -> tuple[Evaluation, Tensor]:
        """What is wanted, and the rows [N, C] that leave the last layer that runs."""
        first, last = window.layers or (0, self.layers)
        visit = self._visit(window, cache, want)
        rows = visit.pack(self._enter(window, first))  # [N, C]
        found = Evaluation(attention=visit.attention, branches=visit.branches)
        begun, between = first, {*window.edits, *want.hidden, *want.readout}
        for index in [each for each in range(first, last + 1) if each in between or each in (first, last)]:
            rows, begun = self._through(begun, index, rows, visit), index
            if index in window.edits and (index > first or first == 0):
                rows = visit.pack(window.edits[index](visit.unpack(rows)))
            if index in want.hidden:
                found.hidden[index] = visit.unpack(rows)
            if index in want.readout:
                found.readout[index] = visit.unpack(self._logits(rows))
        cache.settle(visit.place)
        if isinstance(want.logits, Tensor):
            each = torch.arange(visit.batch, device=self.device)[:, None]
            logits = self._logits(visit.unpack(rows)[each, want.logits].flatten(0, 1))
            found.logits = logits.view(*want.logits.shape, -1)
        elif want.logits:
            found.logits = visit.unpack(self._logits(rows))
        return found, rows

    def _enter(self, window: Window, first: int) -> Tensor:
        """The rows that enter the first layer that runs: [B, T, C]."""
        if first > 0:
            assert window.hidden is not None, f"a window that begins at layer {first} needs hidden rows"
            return window.hidden.to(self.dtype)
        rows = _rows_of(self.weights.table, window.tokens if window.embeds is None else window.tokens.clamp(min=0))
        if window.embeds is not None:
            rows = torch.where((window.tokens == RAW)[..., None], window.embeds.to(rows.dtype), rows)
        if self.weights.embedding_scale != 1.0:
            rows = rows * self.weights.embedding_scale
        return rows

    def _visit(self, window: Window, cache: Cache, want: Want) -> Visit:
        raw = cache.key_form == "raw"
        regards = {} if window.regard is None else {each: window.regard(each) for each in range(self.layers)}
        place = cache.place(window, apart=self._apart and not raw and not want.attention and not regards)
        batch, size = window.tokens.shape
        visit = Visit(place, cache, batch, size, real_slots(window), want.attention, want.branches)
        if raw:
            visit.key_turns = [turn_of(cache.positions(place)[:, None, :, None], each) for each in self._turn_key]
        positions = visit.pack(window.positions[:, :, None])[:, :, None]  # [N, 1, 1]
        visit.turns = [turn_of(positions, each) for each in (self._turn_queries if raw else self._turn_all)]
        visit.given = {branch: visit.pack(rows) for branch, rows in window.given.items()}
        visit.regards = {each: regard for each, regard in regards.items() if regard is not None}
        first, last = window.layers or (0, self.layers)
        for reach in {layer.reach for layer in self.weights.layers[first:last]}:
            seen = visibility(place, cache, reach)
            start = 0 if seen is None or reach is None or want.attention or regards else _first(seen)
            visit.masks[reach] = start, self._mask(seen if seen is None else seen[..., start:])
            trunks = [(standing, visibility_of_trunk(place, standing, reach)) for standing in place.standings]
            visit.trunks[reach] = [(each, self._mask(seen)) for each, seen in trunks if seen is None or seen.any()]
        return visit

    def _mask(self, seen: Tensor | None) -> Tensor | None:
        """What to add to the scores, one row per query of a key head: [B or 1, 1, T * G, S]."""
        if seen is None:
            return None
        mask = torch.where(seen, self._open, self._shut)
        batch, _, _, slots = mask.shape
        return mask[:, :, :, None].expand(-1, -1, -1, self._group, -1).reshape(batch, 1, -1, slots)

    def _through(self, start: int, end: int, rows: Tensor, visit: Visit) -> Tensor:
        """Layers from `start` up to, not including, `end`: [N, C] -> [N, C]."""
        for index in range(start, end):
            rows = self._layer(index, rows, visit)
        return rows

    def _layer(self, index: int, rows: Tensor, visit: Visit) -> Tensor:
        if (given := visit.given.get((index, "attention"))) is not None:
            rows = rows + given
        else:
            before, rows = rows, self._attention(index, rows, visit)
            if (index, "attention") in visit.branching:
                visit.branches[index, "attention"] = visit.unpack(rows - before)
        if (given := visit.given.get((index, "mlp"))) is not None:
            return rows + given
        left = self._mlp(index, rows)
        if (index, "mlp") in visit.branching:
            visit.branches[index, "mlp"] = visit.unpack(left - rows)
        return left

    def _attention(self, index: int, rows: Tensor, visit: Visit) -> Tensor:
        """Rows [N, C] and what attention adds to them."""
        layer = self.weights.layers[index]
        mixed = self._attend(index, layer, layer.qkv(normed(rows, layer.attention_norm)), visit)
        return _added(rows, layer.out, mixed, layer.attention_post)

    def _mlp(self, index: int, rows: Tensor) -> Tensor:
        """Rows [N, C] and what the MLP adds to them."""
        layer = self.weights.layers[index]
        gate, up = layer.gate_up(normed(rows, layer.mlp_norm)).chunk(2, dim=1)
        return _added(rows, layer.down, self._gated(gate).mul_(up), layer.mlp_post)

    def _gated(self, gate: Tensor) -> Tensor:
        """What the MLP's gate lets through, as a new tensor."""
        return F.gelu(gate, approximate="tanh") if self.weights.gelu else F.silu(gate)

    def _attend(self, index: int, layer: Layer, flat: Tensor, visit: Visit) -> Tensor:
        """Attention over the cache and the window: [N, all heads * size] -> [N, query heads * size]."""
        weights, batch, slots = self.weights, visit.batch, visit.slots
        heads = flat.view(flat.shape[0], -1, weights.head_size)
        if layer.head_norms:
            heads = norm_heads(heads, layer.head_norms)
        if layer.rotation is not None:
            heads = _rotate(heads, visit.turns[layer.rotation])
        heads = heads.view(batch, visit.size, -1, weights.head_size) if slots is None else visit.unpack(heads)
        queries, keys, values = torch.split_with_sizes(heads, self._sizes, 2)  # of [B, T, all heads, size]
        queries = self._grouped(queries)
        keys, values = visit.cache.append(index, keys.transpose(1, 2), values.transpose(1, 2), visit.place)
        if layer.rotation is not None and visit.key_turns:
            keys = _rotate(keys, visit.key_turns[layer.rotation])
        if not weights.score_cap and (own := visit.cache.read(index, queries, keys, values, layer.scale)) is not None:
            return self._by_heads(own.to(self.dtype), visit)
        start, mask = visit.masks[layer.reach]
        if start > 0:
            keys, values = keys[:, :, start:], values[:, :, start:]
        for wanted, head in visit.wanted:
            if wanted == index:
                scaled, cap = queries * layer.scale, weights.score_cap
                visit.attention[wanted, head] = shares_of_head(head, self._group, scaled, keys, mask, cap=cap)
        if index in visit.regards:
            mixed = (
                self._regarded(visit.regards[index], queries * layer.scale, keys, mask, visit).to(self.dtype) @ values
            )
        elif weights.score_cap is not None:
            mixed = shares(queries * layer.scale, keys, mask, weights.score_cap).to(self.dtype) @ values
        elif trunks := visit.trunks[layer.reach]:
            mixed = attend_apart(queries, keys, values, mask, trunks, layer=index, scale=layer.scale)
        else:
            mixed = F.scaled_dot_product_attention(queries, keys, values, mask, scale=layer.scale)
        return self._by_heads(mixed, visit)

    def _regarded(self, regard: Regard, queries: Tensor, keys: Tensor, mask: Tensor | None, visit: Visit) -> Tensor:
        """Shares of keys whose scores are changed: [B, key heads, T * G, S] float32."""
        places = visit.place.window.positions, visit.cache.positions(visit.place)
        cap, group = self.weights.score_cap, self._group
        return shares(queries, keys, mask, cap, change=lambda found: regard(found, *places), group=group)

    def _grouped(self, queries: Tensor) -> Tensor:
        """Those that share a key head as rows of it: [B, T, heads, size] -> [B, key heads, T * G, size]."""
        batch, count, _, size = queries.shape
        apart = queries.view(batch, count, self.weights.key_heads, self._group, size).transpose(1, 2)
        return apart.reshape(batch, self.weights.key_heads, count * self._group, size)

    def _by_heads(self, mixed: Tensor, visit: Visit) -> Tensor:
        """What all heads of a row have read, one behind the other: [B, key heads, T * G, size] -> [N, all sizes]."""
        batch, key_heads, _, size = mixed.shape
        apart = mixed.view(batch, key_heads, visit.size, self._group, size).transpose(1, 2)
        rows = apart.reshape(batch * visit.size, -1)
        return rows if visit.slots is None else rows.index_select(0, visit.slots)

    def _logits(self, rows: Tensor) -> Tensor:
        return capped(self.weights.head(normed(rows, self.weights.final_norm)).float(), self.weights.logit_cap)


@dataclass(slots=True)
class Visit:
    """What is the same for all layers of one evaluation; N slots are real, of B * T."""

    place: Place
    cache: Cache
    batch: int  # B
    size: int  # T
    slots: Tensor | None  # [N] numbers of the real ones; None: all are
    wanted: tuple[tuple[int, int], ...]
    branching: tuple[Branch, ...]  # whose additions are wanted
    turns: list[Tensor] = field(init=False)  # by rotation, [N, all heads, size / 2] complex: not those of values
    key_turns: list[Tensor] = field(default_factory=list)  # [B, 1, S, size / 2], where the cache holds raw keys
    given: dict[Branch, Tensor] = field(default_factory=dict)  # -> [N, C]
    regards: dict[int, Regard] = field(default_factory=dict)  # layer -> what becomes of its scores
    masks: dict[int | None, tuple[int, Tensor | None]] = field(default_factory=dict)  # by reach: of the rows' own
    # slots the first that is read, and what is seen from there on
    trunks: dict[int | None, list[tuple[Standing, Tensor | None]]] = field(default_factory=dict)  # and what they share
    attention: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    branches: dict[Branch, Tensor] = field(default_factory=dict)

    def pack(self, rows: Tensor) -> Tensor:
        """The real ones one behind another: [B, T, …] -> [N, …]."""
        flat = rows.reshape(-1, *rows.shape[2:])
        return flat if self.slots is None else flat.index_select(0, self.slots)

    def unpack(self, flat: Tensor) -> Tensor:
        """Each at its place, zeros between: [N, …] -> [B, T, …]."""
        if self.slots is not None:
            flat = flat.new_zeros(self.batch * self.size, *flat.shape[1:]).index_copy_(0, self.slots, flat)
        return flat.view(self.batch, self.size, *flat.shape[1:])


def real_slots(window: Window) -> Tensor | None:
    """Numbers of the slots that are no padding; None where none are."""
    size = window.tokens.shape[1]
    if sum(window.lengths) == len(window.lengths) * size:
        return None
    numbers = [row * size + slot for row, length in enumerate(window.lengths) for slot in range(length)]
    return torch.tensor(numbers, device=window.tokens.device)


def _first(seen: Tensor) -> int:
    """The first slot that any query reads, or one before: where a kernel that sums slots by PART begins a part."""
    if seen.shape[-1] <= PART:
        return 0
    return int(seen.flatten(0, 2).any(0).byte().argmax()) // PART * PART


def normed(rows: Tensor, norm: Norm | None) -> Tensor:
    """RMS norm over the last dimension, computed in float32; None: there is none."""
    if norm is None:
        return rows
    length = torch.hypot(torch.linalg.vector_norm(rows, dim=-1, keepdim=True, dtype=torch.float32), norm.floor)
    return _like((rows / length).mul_(norm.gain), rows)


def _added(rows: Tensor, product: Linear, inner: Tensor, norm: Norm | None) -> Tensor:
    """`rows` [N, C] and what a branch gives, which some networks norm before."""
    return product(inner, rows) if norm is None else normed(product(inner), norm).add_(rows)


def capped(numbers: Tensor, cap: float | None) -> Tensor:
    """Bounded by tanh; None: as they are."""
    return numbers if cap is None else (numbers / cap).tanh_().mul_(cap)


def norm_heads(heads: Tensor, norms: Sequence[Norm]) -> Tensor:
    """The first heads of [N, heads, size], as many as gains have channels for; the others stay."""
    parts = []
    for norm in norms:
        first, heads = heads.tensor_split((norm.gain.numel() // heads.shape[-1],), dim=1)
        parts.append(normed(first.reshape(-1, *norm.gain.shape), norm).view(first.shape))
    return torch.cat([*parts, heads], dim=1)


def _rows_of(table: Tensor | Quantised, tokens: Tensor) -> Tensor:
    """Embedding rows of tokens [...]: [..., C]."""
    if isinstance(table, Tensor):
        return F.embedding(tokens, table)
    return table.looked_up(tokens)


def turn_of(positions: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """How far pairs of channels turn at positions [..., 1], complex: [..., heads, size / 2]."""
    frequencies, amplitudes = table
    angles = positions * frequencies
    return torch.polar(amplitudes.expand_as(angles), angles)


def _rotate(heads: Tensor, turn: Tensor) -> Tensor:
    """Neighbouring channels of [..., size] turned by complex [..., size / 2]."""
    turned = heads.float().view(torch.complex64) * turn
    return _like(turned.view(torch.float32), heads)


def _like(result: Tensor, rows: Tensor) -> Tensor:
    return result if result.dtype is rows.dtype else result.to(rows.dtype)
