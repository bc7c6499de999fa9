"""The one rule of choice: the next token is argmax(steered logits + noise).

Greedy is zero noise. As the noise at a position is the same for every token tried there, whoever drafted it,
a seed gives the same text with any exact method, in any batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from ..noise import WIDEST_GAP, gumbel
from .contract import require
from .pipeline import Pipeline

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

CACHED = 1 << 18  # scores drawn from at a time: the integers of more would leave the processor's cache


@dataclass(frozen=True, slots=True)
class Rule:
    """How the tokens of one row are chosen."""

    pipeline: Pipeline
    seed: int = 0  # 0 to 2^64 - 1; of the request
    stream: int = 0  # 0 to 2^64 - 1; of the sample, attempt or branch: another stream, another draw

    def __post_init__(self) -> None:
        for what, value in (("seed", self.seed), ("stream", self.stream)):
            require(0 <= value < 1 << 64, f"{what} {value} is out of range", "a whole number from 0 to 2^64 - 1")

    @property
    def guessing(self) -> Rule:
        """The rule as a guess at it can follow it: see `Pipeline.guessing`."""
        return self if self.pipeline.guessing is self.pipeline else replace(self, pipeline=self.pipeline.guessing)


@dataclass(frozen=True, slots=True)
class Choices:
    """The tokens chosen at N nodes, and the log-weights they were chosen from."""

    tokens: list[int]  # N
    steered: Tensor  # [N, V]; -inf where a token was removed


def choose(nodes: Nodes, rules: Sequence[Rule]) -> Choices:
    """Choose a token at each of N nodes by the rule of its row.

    Of equally good tokens the one with the lowest id is chosen. Rows under one pipeline go through it together.
    """
    if not rules:
        return Choices([], nodes.raw)
    nodes.rules, first = rules, rules[0].pipeline
    if all(rule.pipeline is first for rule in rules):
        return _choose(first, nodes)
    groups: dict[Pipeline, list[int]] = {}
    for place, rule in enumerate(rules):
        groups.setdefault(rule.pipeline, []).append(place)
    tokens = [0] * len(rules)
    steered = torch.empty_like(nodes.raw, dtype=torch.promote_types(nodes.raw.dtype, torch.float32))
    for pipeline, places in groups.items():
        part = _choose(pipeline, nodes[places])
        steered[places] = part.steered.to(steered.dtype)
        for place, token in zip(places, part.tokens, strict=True):
            tokens[place] = token
    return Choices(tokens, steered)


def _choose(pipeline: Pipeline, nodes: Nodes) -> Choices:
    steered = nodes.raw if pipeline.plain else pipeline(nodes)
    if pipeline.greedy:
        return Choices(steered.argmax(-1).tolist(), steered)
    keys = torch.tensor(nodes.keys, device=steered.device)  # [N]
    # Leaving out hopeless tokens pays on a CPU; elsewhere it would have to wait for their number.
    draw = draw_few if steered.device.type == "cpu" else draw_all
    return Choices(draw(steered, keys).tolist(), steered)


def draw_all(steered: Tensor, keys: Tensor) -> Tensor:
    """argmax(steered + noise) [N], with noise for every token: steered [N, V], keys [N] of the positions."""
    tokens = torch.arange(steered.shape[-1], device=steered.device)
    return (steered + gumbel(keys[:, None], tokens)).argmax(-1)


def draw_few(steered: Tensor, keys: Tensor) -> Tensor:
    """The same tokens as `draw_all` [N], with noise only for those that can win (see `noise.WIDEST_GAP`)."""
    size, vocabulary = steered.shape
    part = max(1, CACHED // vocabulary)
    if size > part:
        starts = range(0, size, part)
        return torch.cat([draw_few(steered[at : at + part], keys[at : at + part]) for at in starts])
    steered = steered.contiguous()
    can_win = steered >= steered.amax(-1, keepdim=True) - WIDEST_GAP
    if 4 * int(can_win.count_nonzero()) > can_win.numel():
        return draw_all(steered, keys)  # gathering most of them would cost more than it saves
    able = can_win.view(-1).nonzero().view(-1)  # [M], flat
    scores = steered.view(-1).index_select(0, able)
    if size == 1:
        return able[(scores + gumbel(keys, able)).argmax(keepdim=True)]
    nodes = able.div(vocabulary, rounding_mode="floor")
    noisy = scores + gumbel(keys.index_select(0, nodes), able - nodes * vocabulary)
    return torch.full_like(steered, -torch.inf).view(-1).index_copy_(0, able, noisy).view_as(steered).argmax(-1)
