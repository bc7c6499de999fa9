"""Chance on a canvas, as everywhere keyed by (seed, stream, position, token): no draw depends on the batch.

A position may be sampled at many steps before it is filled. At the first step of a window the draw of a token is that
of plain decoding, so a block of one position gives plain decoding's token. At later steps of the window the step is
mixed in: published samplers draw anew each time, and one draw kept would favour the same few tokens at every step.
What an order draws for itself (which position comes next) has lines of its own beside those of the tokens.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..noise import BITS, split
from ..steer.choice import Rule

if TYPE_CHECKING:
    from numpy.typing import NDArray

Positions: TypeAlias = "NDArray[np.int64]"
Words: TypeAlias = "NDArray[np.uint64]"

_GAMMA = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


class Use(IntEnum):
    """What a draw is for; each use has its own line of draws at a position and step."""

    TOKEN = 0  # the state of all draws of tokens
    RANK = 1  # in which order positions come
    COIN = 2  # whether a position is filled
    OTHER = 3  # free for what an order needs besides


USES = len(Use)


def token_keys(rule: Rule, positions: Positions, step: int) -> Positions:
    """The keys of the tokens' noise [n] at the positions, at step 0, 1, … of their window."""
    keys = _keys(rule, positions)
    return (_split(keys, _line(step, Use.TOKEN)) if step else keys).view(np.int64)


def uniform(rule: Rule, positions: Positions, step: int, use: Use) -> NDArray[np.float64]:
    """Draws in (0, 1) [n] at the positions: what an order decides by at step 0, 1, … of the decode."""
    words = _split(_keys(rule, positions), _line(step, use))
    return ((words >> np.uint64(64 - BITS)).astype(np.float64) + 0.5) * 2.0**-BITS


def gumbel(rule: Rule, positions: Positions, step: int, use: Use) -> NDArray[np.float64]:
    """Gumbel draws [n]: the largest k of (log-weight + draw) are a draw of k without replacement."""
    draws: NDArray[np.float64] = -np.log(-np.log(uniform(rule, positions, step, use)))
    return draws


def _line(step: int, use: Use) -> np.uint64:
    """An index that no token has: tokens count up from 0, these down from 2^64 - 1."""
    return np.uint64((1 << 64) - 1 - (step * USES + use))


def _keys(rule: Rule, positions: Positions) -> Words:
    """`noise.key` of each position."""
    return _split(_stream(rule.seed, rule.stream), positions.astype(np.uint64))


@lru_cache(maxsize=4096)
def _stream(seed: int, stream: int) -> np.uint64:
    return np.uint64(split(split(0, seed), stream))


def _split(states: Words | np.uint64, index: Words | np.uint64) -> Words:
    """`noise.split` for whole arrays."""
    with np.errstate(over="ignore"):
        words = np.atleast_1d(states + (index + np.uint64(1)) * np.uint64(_GAMMA)).astype(np.uint64, copy=False)
        words = (words ^ (words >> np.uint64(30))) * np.uint64(_FIRST)
        words = (words ^ (words >> np.uint64(27))) * np.uint64(_SECOND)
        return words ^ (words >> np.uint64(31))
