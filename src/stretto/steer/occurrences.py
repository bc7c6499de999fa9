"""Which tokens the paths of many nodes hold, and how often: what penalties look up, for all nodes at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from .path import Path, Scope

if TYPE_CHECKING:
    from torch import Tensor


class Occurrences(NamedTuple):
    """Each (node, distinct token of its path) once."""

    flat: Tensor  # [M] into the flattened logits [N * V]
    counts: Tensor  # [M] how often the token occurs, at least 1


def occurrences(paths: Sequence[Path], scope: Scope, last: int, vocabulary: int) -> Occurrences:
    """What each path holds in the scope, or in the newest `last` tokens of it (0: all of it)."""
    loose: Counter[int] = Counter()  # flat index -> count, of what is in no block
    blocks: list[Occurrences] = []
    if last:
        for node, path in enumerate(paths):
            loose.update(node * vocabulary + token for token in path.last(last, scope))
    else:
        rows: dict[int, list[int]] = {}  # nodes of one history share its index
        for node, path in enumerate(paths):
            rows.setdefault(id(path.history), []).append(node)
        blocks = [_block(paths, nodes, scope, vocabulary, loose) for nodes in rows.values()]
    rest = torch.tensor([*loose.keys(), *loose.values()], dtype=torch.int64).view(2, -1)
    flat = torch.cat([*(block.flat for block in blocks), rest[0]])
    return Occurrences(flat, torch.cat([*(block.counts for block in blocks), rest[1]]))


def _block(paths: Sequence[Path], nodes: list[int], scope: Scope, vocabulary: int, loose: Counter[int]) -> Occurrences:
    """The distinct tokens of one history at the nodes that hang on it, with the drafted ones counted in.

    Drafted tokens that the history lacks are counted in `loose`.
    """
    known = paths[nodes[0]].history.counts(scope)
    tokens, amounts = known.distinct()
    again: list[int] = []  # drafted tokens that the history holds: their places in the block
    for line, node in enumerate(nodes):
        for token in paths[node].drafted:
            slot = known.slots.get(token)
            if slot is None:
                loose[node * vocabulary + token] += 1
            else:
                again.append(line * len(tokens) + slot)
    counts = amounts.repeat(len(nodes))  # [nodes * K]
    if again:
        counts.index_add_(0, torch.tensor(again), torch.ones(len(again), dtype=torch.int64))
    return Occurrences((torch.tensor(nodes)[:, None] * vocabulary + tokens).view(-1), counts)
