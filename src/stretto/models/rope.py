"""How far the channels of a head turn at a position, in the ways that configurations name (RoPE, arXiv 2104.09864).

Frequencies fall from 1 by the powers of a base; for texts longer than those of the training they are made lower: all
alike ("linear"), or the low ones ("llama3", as in Llama 3.1, and "yarn", arXiv 2309.00071, which turns by longer
vectors as well).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

NEEDED = {  # by type, what it must say beside the base
    "default": set(),
    "linear": {"factor"},
    "llama3": {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"},
    "yarn": {"factor", "original_max_position_embeddings"},
}
FURTHER = {"yarn": {"attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim"}}  # and what it may say


def known(rope: Mapping[str, Any]) -> bool:
    """Whether parameters are all there, are numbers, and none but those that are read here."""
    named = rope.get("rope_type", "default")
    if named not in NEEDED:
        return False
    needed = NEEDED[named] | {"rope_theta"}
    given = rope.keys() - {"rope_type", "partial_rotary_factor"}
    numbers = all(type(rope[key]) in (int, float) and rope[key] > 0 for key in rope.keys() - {"rope_type"})
    return needed <= given <= needed | FURTHER.get(named, set()) and numbers


def frequencies(rope: Mapping[str, Any], head_dim: int) -> tuple[Tensor, float]:
    """Radians per position of each pair that turns, and how long the vectors become; parameters must be `known`."""
    size = int(head_dim * rope.get("partial_rotary_factor", 1.0))
    periods: Tensor = rope["rope_theta"] ** (torch.arange(0, size, 2).float() / size)  # in positions, over 2 pi
    match rope.get("rope_type", "default"):
        case "linear":
            return 1.0 / periods / rope["factor"], 1.0
        case "llama3":
            return _llama3(1.0 / periods, rope), 1.0
        case "yarn":
            return _yarn(periods, rope, size), _amplitude(rope)
        case _:
            return 1.0 / periods, 1.0


def _llama3(frequencies: Tensor, rope: Mapping[str, Any]) -> Tensor:
    """High frequencies stay, low ones are divided, those between are mixed by how often they turn in a text."""
    factor, low, high = rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"]
    turns = rope["original_max_position_embeddings"] / (2 * math.pi / frequencies)
    share = ((turns - low) / (high - low)).clamp(0, 1)
    mixed: Tensor = (1 - share) * frequencies / factor + share * frequencies
    return mixed


def _yarn(periods: Tensor, rope: Mapping[str, Any], size: int) -> Tensor:
    """The same, mixed along a straight line between the pairs that turn `beta_fast` and `beta_slow` times in a text."""
    length = rope["original_max_position_embeddings"]

    def pair(turns: float) -> float:
        """Which pair turns so often."""
        return (size * math.log(length / (turns * 2 * math.pi))) / (2 * math.log(rope["rope_theta"]))

    first = max(math.floor(pair(rope.get("beta_fast", 32))), 0)
    last: float = min(math.ceil(pair(rope.get("beta_slow", 1))), size - 1)
    if first == last:
        last += 0.001
    share = 1 - ((torch.arange(size // 2).float() - first) / (last - first)).clamp(0, 1)
    mixed: Tensor = 1.0 / (rope["factor"] * periods) * (1 - share) + 1.0 / periods * share
    return mixed


def _amplitude(rope: Mapping[str, Any]) -> float:
    """How much longer YaRN makes vectors, by its parameters."""
    if "attention_factor" in rope:
        return float(rope["attention_factor"])

    def scale(times: float) -> float:
        return 1.0 if rope["factor"] <= 1 else 0.1 * times * math.log(rope["factor"]) + 1.0

    if "mscale" in rope and "mscale_all_dim" in rope:
        return scale(rope["mscale"]) / scale(rope["mscale_all_dim"])
    return scale(1.0)
