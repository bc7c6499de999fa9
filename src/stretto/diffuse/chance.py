"""Chance on a canvas, as everywhere keyed by (seed, stream, position, token): no draw depends on the batch.

A position may be sampled at many steps before it is filled. At the first step of a window the draw of a token is that
of plain decoding, so a block of one position gives plain decoding's token. At later steps of the window the step is
mixed in: published samplers draw anew each time, and one draw kept would favour the same few tokens at every step.
What an order draws for itself (which position comes next) has draws of its own beside those of the tokens.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..noise import split, split_all, uniform_of
from ..steer.choice import Rule

if TYPE_CHECKING:
    from numpy.typing import NDArray

Positions: TypeAlias = "NDArray[np.int64]"
Words: TypeAlias = "NDArray[np.uint64]"


class Use(IntEnum):
    """What a draw is for; each use has its own draws at a position and step."""

    TOKEN = 0  # the state of all draws of tokens
    RANK = 1  # in which order positions come
    COIN = 2  # whether a position is filled
    OTHER = 3  # free for what an order needs besides


USES = len(Use)


def token_keys(rule: Rule, positions: Positions, step: int) -> Positions:
    """The keys of the tokens' noise [n] at the positions, at step 0, 1, … of their window."""
    keys = _keys(rule, positions)
    return (split_all(keys, _index(step, Use.TOKEN)) if step else keys).view(np.int64)


def uniform(rule: Rule, positions: Positions, step: int, use: Use) -> NDArray[np.float64]:
    """Draws in (0, 1) [n] at the positions: what an order decides by at step 0, 1, … of the decode."""
    return uniform_of(split_all(_keys(rule, positions), _index(step, use)))


def gumbel(rule: Rule, positions: Positions, step: int, use: Use) -> NDArray[np.float64]:
    """Gumbel draws [n]: the largest k of (log-weight + draw) are a draw of k without replacement."""
    draws: NDArray[np.float64] = -np.log(-np.log(uniform(rule, positions, step, use)))
    return draws


def _index(step: int, use: Use) -> Words:
    """An index that no token has: tokens count up from 0, these down from 2^64 - 1."""
    return np.array([(1 << 64) - 1 - (step * USES + use)], np.uint64)


def _keys(rule: Rule, positions: Positions) -> Words:
    """`noise.key` of each position."""
    return split_all(_stream(rule.seed, rule.stream), positions.astype(np.uint64))


@lru_cache(maxsize=4096)
def _stream(seed: int, stream: int) -> Words:
    return np.array([split(split(0, seed), stream)], np.uint64)
