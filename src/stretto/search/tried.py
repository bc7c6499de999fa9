"""Tokens drawn under a constraint that is asked about single tokens, never about all: the proposal of particles.

Tokens are tried in the order of their log-weight plus noise until one may follow: it is the one that the whole mask
would have left as the best. What the mask would have left is estimated by drawing on, with noise of its own, until a
second one passes. Let F tokens fail before the two have passed, and let sᵢ be the probability of all tokens but the
first i that failed. Then 1 / (1 / s₀ + … + 1 / s_F) is an estimate without bias, whatever token was drawn, and never 0:
the first to pass may stand before any of the F or behind them, the second behind them all, so that an order of failures
has the probability Z² (Σ 1 / sᵢ) / s_F times that of each failure, and Z / s_F times it sums to 1 over all orders.
(Adaptive weighted rejection sampling, arXiv 2504.05410, has other estimates of the kind.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch

from ..noise import gumbel
from ..speculate.chance import KeyedChance
from ..steer.choice import draw_few
from ..steer.constrained import Constrained
from ..steer.contract import Steer

if TYPE_CHECKING:
    from torch import Tensor

    from ..constrain.held import Held
    from ..steer.nodes import Nodes
    from ..steer.path import History, Path

Passes = Callable[[int], bool]

TRYING = (1 << 40) + 5  # beyond all token ids: draws no one else makes


@dataclass(frozen=True, slots=True)
class Missing(Steer):
    """Sums along a path what the weights that were drawn from lack of the mask; no step of a pipeline."""

    @property
    def name(self) -> str:  # type: ignore[override]  # no part of methods: a class without a name is none
        return "missing"

    def begin(self, prompt: Sequence[int]) -> float:
        return 0.0

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        return logits


MISSING = Missing()


@dataclass(frozen=True, slots=True)
class Tried(Constrained):
    """A constraint that removes only what would be chosen and may not. Truncations behind it would see the rest."""

    temperature: float = field(kw_only=True)  # > 0, of the draw

    hears: ClassVar[bool] = True
    masks: ClassVar[bool] = False

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        steered = logits.clone()
        sums: list[float] = nodes.states(MISSING)
        standing: list[Held] = [path.history.states(self) for path in nodes.paths]  # type: ignore[misc]  # see `follow`
        for node, (path, held) in enumerate(zip(nodes.paths, standing, strict=True)):

            def passes(token: int, path: Path = path, held: Held = held) -> bool:
                return held.follows(path.history.tokens, (*path.drafted, token))

            scores = logits[node] if self.temperature == 1 else logits[node] / self.temperature  # as the choice does
            failed = tried(scores, nodes.keys[node], passes)
            steered[node, failed] = -torch.inf
            chance = KeyedChance(nodes.rules[node], len(path), TRYING)
            sums[node] += lacking(scores, failed, chance, passes)
        nodes.tell(MISSING, range(len(sums)), sums)
        return steered


def missing(history: History) -> float:
    """Logarithm, along a row: the estimated mass of what the masks allow, over that of what was drawn from."""
    return float(history.state(MISSING, ()))


def tried(scores: Tensor, key: int, passes: Passes) -> list[int]:
    """The tokens that are better than the best one that passes, by score [V] plus the noise of the choice."""
    keys = torch.tensor([key], device=scores.device)
    if passes(int(draw_few(scores[None], keys)[0])):
        return []
    noisy = scores + gumbel(keys, torch.arange(len(scores), device=scores.device))
    failed: list[int] = []
    for token in noisy.argsort(descending=True, stable=True)[: int((scores > -torch.inf).sum())].tolist():
        if passes(token):
            break
        failed.append(token)
    return failed


def lacking(scores: Tensor, failed: Sequence[int], chance: KeyedChance, passes: Passes) -> float:
    """Logarithm: the estimated mass of all that passes, over that of all but those that `failed` in the first pass."""
    left = scores.cpu().double().softmax(-1).numpy()
    shares = [float(left[token]) for token in failed]
    left[list(failed)] = 0.0
    kept = float(left.sum())
    while left.any():
        token = chance.draw(left)
        if passes(token):
            break
        shares.append(float(left[token]))
        left[token] = 0.0
    rest = float(left.sum())
    if not rest:
        return 0.0  # nothing passes at all, and the step that chooses says so
    inverse = 1 / rest
    for share in reversed(shares):
        rest += share
        inverse += 1 / rest
    return -math.log(inverse) - math.log(kept)
