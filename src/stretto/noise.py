"""Counter-based noise: what chance says about one token at one position, whoever asks and whenever.

A draw is a function of (seed, stream, position, token) and of nothing else: not of the batch, the order of
calls, the drafts, or the text before. That makes the choice of a token, argmax(scores + noise), the same
however it was drafted. Never key noise by the text: that would be a watermark.

The hash is SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014),
nested: each level's output is the next level's starting state. Integers are exact on every device; the two
logarithms are taken in float64 and rounded to float32, which hides how devices differ in their last bit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_GAMMA = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
_WORD = (1 << 64) - 1

# A uniform is (k + 1/2) / 2^40 for a whole k: strictly inside (0, 1). A probability is then wrong by less
# than 2^-41, far below the float32 rounding of the scores; each bit more would widen `WIDEST_GAP`.
BITS = 40

# A token whose score is this much below another's can never win, so it needs no noise. The largest noise
# is -ln(-ln(1 - 2^-41)) < 28.42, the smallest -ln(-ln(2^-41)) > -3.35; the last 1.0 pays for rounding,
# which suffices while scores are float32 of magnitude below 2^22, or float64.
WIDEST_GAP = 28.42 + 3.35 + 1.0


def _signed(word: int) -> int:
    """The same 64 bits as torch holds them."""
    return word - (1 << 64) if word >> 63 else word


def _mix(word: int) -> int:
    word = ((word ^ (word >> 30)) * _FIRST) & _WORD
    word = ((word ^ (word >> 27)) * _SECOND) & _WORD
    return word ^ (word >> 31)


def split(state: int, index: int) -> int:
    """Output number `index` (from 0) of the SplitMix64 generator that starts in `state`: 64 bits."""
    return _mix((state + (index + 1) * _GAMMA) & _WORD)


def split_all(states: NDArray[np.uint64], indices: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """`split` of whole arrays, which broadcast together."""
    with np.errstate(over="ignore"):
        words = states + (indices + np.uint64(1)) * np.uint64(_GAMMA)
        for shift, factor in ((30, _FIRST), (27, _SECOND)):
            words = (words ^ (words >> np.uint64(shift))) * np.uint64(factor)
        mixed: NDArray[np.uint64] = words ^ (words >> np.uint64(31))
        return mixed


def key(seed: int, stream: int, position: int) -> int:
    """The starting state of all draws at one position of one stream, as a signed 64-bit integer."""
    return _signed(split(split(split(0, seed), stream), position))


def uniform_one(key: int, token: int) -> float:
    """One uniform draw in pure Python: the slow reference of `uniform`."""
    return ((split(key, token) >> (64 - BITS)) + 0.5) * 2.0**-BITS


def uniform_of(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """The uniform draws that hashes stand for, float64: `uniform_one` is that of `split(key, token)`."""
    draws: NDArray[np.float64] = ((words >> np.uint64(64 - BITS)).astype(np.float64) + 0.5) * 2.0**-BITS
    return draws


def gumbel_one(key: int, token: int) -> float:
    """One Gumbel draw in pure Python, not yet rounded to float32: the slow reference of `gumbel`."""
    return -math.log(-math.log(uniform_one(key, token)))


def uniform(keys: Tensor, tokens: Tensor) -> Tensor:
    """Uniform draws strictly inside (0, 1), float64; `keys` and `tokens` (int64) broadcast together."""
    word = tokens * _signed(_GAMMA) + (keys + _signed(_GAMMA))
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        # torch shifts integers with their sign; the mask makes it the plain shift of the definition
        word.bitwise_xor_((word >> shift).bitwise_and_(_WORD >> shift)).mul_(_signed(factor))
    word.bitwise_xor_((word >> 31).bitwise_and_(_WORD >> 31))
    word.bitwise_right_shift_(64 - BITS).bitwise_and_((1 << BITS) - 1)
    return word.to(torch.float64).add_(0.5).mul_(2.0**-BITS)


def gumbel(keys: Tensor, tokens: Tensor) -> Tensor:
    """Standard Gumbel draws, float32; `keys` and `tokens` (int64) broadcast together.

    The index of the largest of (log-weight + draw) is distributed as the normalised weights.
    """
    return uniform(keys, tokens).log_().neg_().log_().neg_().to(torch.float32)
