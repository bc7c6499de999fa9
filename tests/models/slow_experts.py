"""A mixture of experts as the papers write it: token by token, expert by expert."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import silu


@dataclass(frozen=True)
class Experts:
    """What kind of mixture a layer holds, and which layers hold one."""

    layers: tuple[int, ...]  # the others hold a plain gated MLP
    count: int
    chosen: int  # of them, by each token
    inner: int  # width of one expert
    renormed: bool  # whether the weights of the chosen ones sum up to one
    sigmoid: bool = False  # each scored by itself, and chosen with a bias; else all together by a softmax
    groups: tuple[int, int] = (1, 1)  # how many, and from how many of them experts are chosen
    scale: float = 1.0
    shared: int = 0  # experts that serve every token, as one MLP of their widths together


def gated(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return (silu(x @ gate.T) * (x @ up.T)) @ down.T


def mix(rows: Tensor, kind: Experts, weight: Callable[[str], Tensor]) -> Tensor:
    """What a layer adds to each of its rows [T, C]; `weight` gives "gate", "bias", "3.up", "shared.down" and so on."""
    return torch.stack([_mix_one(row, kind, weight) for row in rows])


def _mix_one(row: Tensor, kind: Experts, weight: Callable[[str], Tensor]) -> Tensor:
    logits = weight("gate") @ row
    scores = (logits.sigmoid() if kind.sigmoid else logits.softmax(0)).tolist()
    chosen = _choose(scores, kind, weight("bias").tolist() if kind.sigmoid else [0.0] * kind.count)
    total = sum(scores[expert] for expert in chosen) if kind.renormed else 1.0
    added = torch.zeros_like(row)
    for expert in chosen:
        parts = (weight(f"{expert}.{part}") for part in ("gate", "up", "down"))
        added += kind.scale * scores[expert] / total * gated(row, *parts)
    if kind.shared:
        added += gated(row, *(weight(f"shared.{part}") for part in ("gate", "up", "down")))
    return added


def _choose(scores: list[float], kind: Experts, bias: list[float]) -> list[int]:
    """The experts with the best biased scores, within the groups whose two best together are best."""
    biased = [score + extra for score, extra in zip(scores, bias, strict=True)]
    groups, kept = kind.groups
    size = kind.count // groups
    members = [range(group * size, (group + 1) * size) for group in range(groups)]
    members.sort(key=lambda group: -sum(sorted((biased[expert] for expert in group), reverse=True)[:2]))
    able = [expert for group in members[:kept] for expert in group]
    return sorted(able, key=lambda expert: -biased[expert])[: kind.chosen]
