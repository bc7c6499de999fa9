"""The new tokens of one evaluation: what they are, where they stand, and who sees whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..tree import Proposal, Tree

RAW = -1  # in `Window.tokens`: this slot enters as the raw embedding row in `Window.embeds`


@dataclass(slots=True)
class Window:
    """B rows side by side, padded at the end to T slots.

    Every slot sees all cached tokens of its row and, among the window's own slots, those that
    `visible` says. Positions come from the window, never from the length of a cache.
    """

    rows: list[int]  # B cache rows
    tokens: Tensor  # [B, T] int64; RAW where the slot enters as a raw row
    positions: Tensor  # [B, T] int64, counted from 0
    lengths: list[int]  # B; how many of the T slots are real
    visible: Tensor | None = None  # [B, T, T] bool, self included; None: each slot sees those before it
    embeds: Tensor | None = None  # [B, T, C] raw embedding rows, read where tokens == RAW
    layers: tuple[int, int] | None = None  # run layers [a, b) only; None: all
    hidden: Tensor | None = None  # [B, T, C] rows that enter layer a, when a > 0
    edits: dict[int, Tensor] = field(default_factory=dict)  # layer -> [B, T, C] added to what leaves it;
    # layer 0 is the embedding, layer l the output of the l-th decoder layer

    @classmethod
    def chain(
        cls, rows: Sequence[int], tokens: Sequence[Sequence[int]], starts: Sequence[int], device: torch.device
    ) -> Window:
        """Rows of consecutive tokens, row r standing at positions starts[r], starts[r] + 1, …"""
        lengths = [len(row) for row in tokens]
        size = max(lengths)
        padded = [[*row, *([0] * (size - len(row)))] for row in tokens]
        positions = [list(range(start, start + size)) for start in starts]
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
        if all(tree.is_chain and not tree.embeds and Proposal.RIDER not in tree.proposals for tree in trees):
            chains = [[root, *tree.tokens] for root, tree in zip(roots, trees, strict=True)]
            return cls.chain(rows, chains, starts, device)
        lengths = [1 + len(tree) for tree in trees]
        size = max(lengths)
        tokens = torch.zeros(len(rows), size, dtype=torch.int64)
        positions = torch.zeros(len(rows), size, dtype=torch.int64)
        visible = torch.eye(size, dtype=torch.bool).repeat(len(rows), 1, 1)  # padding sees itself
        visible[:, :, 0] = True  # everyone sees the root
        for r, (root, tree, start) in enumerate(zip(roots, trees, starts, strict=True)):
            length = lengths[r]
            tokens[r, :length] = torch.tensor([root, *tree.tokens])
            positions[r, :length] = start + torch.tensor([0, *tree.depths])
            if len(tree):
                visible[r, 1:length, 1:length] = torch.tensor(tree.ancestors())
        return cls(
            rows=list(rows),
            tokens=tokens.to(device),
            positions=positions.to(device),
            lengths=lengths,
            visible=visible.to(device),
            embeds=_raw_rows(trees, size, device),
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
