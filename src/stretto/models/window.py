"""The new tokens of one evaluation: what they are, where they stand, and who sees whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from ..tree import NodeKind, Tree, slot_of

if TYPE_CHECKING:
    from torch import Tensor

    from .edits import Change
    from .gazes import Regard

RAW = -1  # in `Window.tokens`: this slot enters as the raw embedding row in `Window.embeds`

Branch = tuple[int, Literal["attention", "mlp"]]  # of a layer, counted from 0


@dataclass(slots=True)
class Window:
    """B rows side by side, padded at the end to T slots.

    Padding stands at positions that its own row has reached: what a model does by the furthest position (a table
    that ends, frequencies that change) it does as for the rows themselves.

    Every slot sees all cached tokens of its row and, among the window's own slots, those that
    `visible` says. Positions come from the window, never from the length of a cache.
    """

    rows: list[int]  # B cache rows
    tokens: Tensor  # [B, T] int64; RAW where the slot enters as a raw row
    positions: Tensor  # [B, T] int64, counted from 0
    lengths: list[int]  # B; how many of the T slots are real
    visible: Tensor | None = None  # [B, T, T] bool, self included; None: each slot sees those before it
    everyone: bool = False  # each slot sees all real slots, and `visible` is not read: no mask where rows are level
    embeds: Tensor | None = None  # [B, T, C] raw embedding rows, read where tokens == RAW
    layers: tuple[int, int] | None = None  # run layers [a, b) only; None: all
    hidden: Tensor | None = None  # [B, T, C] rows that enter layer a, when a > 0
    edits: dict[int, Change] = field(default_factory=dict)  # layer -> what becomes of the rows [B, T, C] that leave
    # it (edits.py); layer 0 is the embedding, layer l the output of the l-th decoder layer
    regard: Callable[[int], Regard | None] | None = None  # layer, from 0 -> what becomes of its scores (gazes.py)
    given: dict[Branch, Tensor] = field(default_factory=dict)  # -> [B, T, C] added instead of computing the branch;
    # an attention that is not computed leaves no keys: for windows that hold all that is ever seen of these rows

    @classmethod
    def chain(
        cls, rows: Sequence[int], tokens: Sequence[Sequence[int]], starts: Sequence[int], device: torch.device
    ) -> Window:
        """Rows of consecutive tokens, row r standing at positions starts[r], starts[r] + 1, …; padding at its last."""
        lengths = [len(row) for row in tokens]
        size = max(lengths)
        padded = [[*row, *([0] * (size - len(row)))] for row in tokens]
        positions = [
            [*range(start, start + length), *([start + length - 1] * (size - length))]
            for start, length in zip(starts, lengths, strict=True)
        ]
        return cls(
            rows=list(rows),
            tokens=torch.tensor(padded, device=device),
            positions=torch.tensor(positions, device=device),
            lengths=lengths,
        )

    @classmethod
    def forest(
        cls,
        rows: Sequence[int],
        roots: Sequence[int],
        trees: Sequence[Tree],
        starts: Sequence[int],
        device: torch.device,
    ) -> Window:
        """One tree per row under its root; row r's root stands at position starts[r]."""
        if all(tree.is_chain and not tree.embeds and NodeKind.RIDER not in tree.proposals for tree in trees):
            chains = [[root, *tree.tokens] for root, tree in zip(roots, trees, strict=True)]
            return cls.chain(rows, chains, starts, device)
        above = [[-1, *map(slot_of, tree.parents)] for tree in trees]
        tokens = [[root, *tree.tokens] for root, tree in zip(roots, trees, strict=True)]
        window = cls.branching(rows, tokens, above, starts, device)
        window.embeds = _raw_rows(trees, window.tokens.shape[1], device)
        return window

    @classmethod
    def branching(
        cls,
        rows: Sequence[int],
        tokens: Sequence[Sequence[int]],
        above: Sequence[Sequence[int]],
        starts: Sequence[int],
        device: torch.device,
    ) -> Window:
        """Each slot stands after the slot `above` it and sees what that one sees; -1: after what is cached."""
        lengths = [len(row) for row in tokens]
        size = max(lengths)
        ids = np.zeros((len(rows), size), dtype=np.int64)  # filled by numpy: it is quicker with what is this small
        positions = np.zeros((len(rows), size), dtype=np.int64)
        visible = np.zeros((len(rows), size, size), dtype=np.bool_)
        visible[:, range(size), range(size)] = True
        for r, (row, parents, start) in enumerate(zip(tokens, above, starts, strict=True)):
            ids[r, : lengths[r]] = row
            seen, places = visible[r], [start] * lengths[r]
            for slot, parent in enumerate(parents):
                if parent >= 0:
                    seen[slot] |= seen[parent]
                    places[slot] = places[parent] + 1
            positions[r, : lengths[r]] = places
            seen[lengths[r] :, 0] = True  # padding sees itself and the first slot, and is not read
        return cls(
            rows=list(rows),
            tokens=torch.from_numpy(ids).to(device),
            positions=torch.from_numpy(positions).to(device),
            lengths=lengths,
            visible=torch.from_numpy(visible).to(device),
        )


def _raw_rows(trees: Sequence[Tree], size: int, device: torch.device) -> Tensor | None:
    """Raw rows of the riders at their slots, [B, T, C]; None where no tree has one."""
    sample = next((row for tree in trees for row in tree.embeds.values()), None)
    if sample is None:
        return None
    embeds = torch.zeros(len(trees), size, sample.shape[-1], dtype=sample.dtype, device=device)
    for r, tree in enumerate(trees):
        for node, row in tree.embeds.items():
            embeds[r, node + 1] = row
    return embeds
