"""Exact by choice: commit what the model itself would have chosen, one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...tree import ROOT, NodeKind
from ..contract import Acceptor, Target, Verdict


@dataclass(frozen=True, slots=True)
class Exact(Acceptor):
    """Take the choice at the node; follow the child that bears it; where there is none, it is the extra token.

    The choice is argmax(steered logits + noise), and the noise depends only on seed, stream, position and
    token. So the committed tokens are those of plain decoding with the same seed, whatever was drafted and
    however: greedy and sampled alike.
    """

    name: ClassVar[str] = "exact"
    accepts: ClassVar[frozenset[NodeKind]] = frozenset(NodeKind)

    def accept(self, target: Target) -> list[Verdict]:
        nodes = [ROOT] * len(target.trees)
        verdicts = [Verdict([], -1) for _ in target.trees]
        walking = list(range(len(target.trees)))
        while walking:  # all rows descend together, one depth at a time
            tokens = target.choose([(row, nodes[row]) for row in walking])
            still = []
            for row, token in zip(walking, tokens, strict=True):
                child = target.trees[row].child_bearing(nodes[row], token)
                if child is None:
                    verdicts[row].extra = token
                    continue
                verdicts[row].path.append(child)
                nodes[row] = child
                still.append(row)
            walking = still
        return verdicts
