"""What drafting can give at best, in formulas: tokens per round from acceptance, and what that is worth.

Acceptance here is independent from position to position, which no text is: the formulas are for orientation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import InvalidRequest


def acceptance(target: Sequence[float], draft: Sequence[float]) -> float:
    """How often a token drawn from `draft` may be kept for `target`: 1 − their total variation.

    Speculative sampling reaches it (arXiv 2211.17192).
    """
    return float(np.minimum(np.asarray(target, float), np.asarray(draft, float)).sum())


def tokens_per_round(accepted: float, length: int) -> float:
    """τ of chains of `length` ≥ 0 drafted tokens, each kept with probability `accepted`: (1 − a^(g+1)) / (1 − a)."""
    _check(accepted, length)
    return float(sum(accepted**depth for depth in range(length + 1)))


def acceptance_from(tokens: float, length: int) -> float:
    """The acceptance at which chains of `length` ≥ 1 tokens give that many tokens per round; the inverse of the above.

    Raises InvalidRequest outside of 1 … length + 1.
    """
    if length < 1 or not 1 <= tokens <= length + 1:
        raise InvalidRequest(f"{tokens} tokens per round of {length} drafted", hint="1 to length + 1")
    low, high = 0.0, 1.0
    for _ in range(60):  # τ grows with acceptance: halve the interval
        middle = (low + high) / 2
        low, high = (middle, high) if tokens_per_round(middle, length) < tokens else (low, middle)
    return (low + high) / 2


def speedup(accepted: float, length: int, cost: float) -> float:
    """Against plain decoding, where a drafted token costs `cost` target forwards and verifying is one forward."""
    if cost < 0:
        raise InvalidRequest(f"a drafted token costs {cost} forwards", hint="0 or more")
    return tokens_per_round(accepted, length) / (1 + length * cost)


def best_length(accepted: float, cost: float, most: int = 64) -> int:
    """The chain length up to `most` with the highest speedup; 0: drafting does not pay."""
    return max(range(most + 1), key=lambda length: speedup(accepted, length, cost))


def _check(accepted: float, length: int) -> None:
    if not 0 <= accepted <= 1 or length < 0:
        raise InvalidRequest(
            f"acceptance {accepted}, {length} drafted tokens", hint="an acceptance in [0, 1], a length from 0"
        )
