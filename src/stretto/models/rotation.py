"""How the heads of a module turn, found by asking its own rotation, and in which order their channels are kept."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .source import Unlike
from .weights import Rotation

SETTLED = ("default", "linear", "llama3", "yarn")  # types whose frequencies do not depend on the length


@dataclass(frozen=True, slots=True)
class Turning:
    """Of all layers."""

    rotations: tuple[Rotation, ...]  # each once
    of_layers: tuple[int | None, ...]  # which of them a layer has, if any
    pairs: Tensor  # [head_size] the channels of a head in the order in which those that turn together are neighbours


def turning(base: Any, config: Any, head_size: int) -> Turning:
    """What the rotary module of a decoder and the function that turns by it do. Raises Unlike."""
    types = getattr(base.rotary_emb, "rope_type", None)
    if not isinstance(types, Mapping):
        types = {"": types}  # one for all layers
    positions = torch.tensor([[0, 1, 7, config.max_position_embeddings - 1]], device=base.norm.weight.device)
    found: list[Rotation] = []
    had = {}  # by type of layer
    for layer_type, rope in types.items():
        rotation = _rotation(base.rotary_emb, rope, layer_type, positions)
        same = [at for at, each in enumerate(found) if _alike(each, rotation)]
        had[layer_type] = same[0] if same else len(found)
        found += [] if same else [rotation]
    if len({len(each.frequencies) for each in found}) != 1:
        raise Unlike("its layers turn unlike numbers of channels")
    of_layers = [had.get(each) for each in ([""] * len(base.layers) if "" in had else config.layer_types)]
    pairs = torch.arange(head_size, device=positions.device)
    turned = 2 * len(found[0].frequencies)
    if not _neighbours(base.layers[0].self_attn, turned):
        pairs[:turned] = pairs[:turned].view(2, -1).t().flatten()
    still = head_size // 2 - turned // 2
    whole = tuple(replace(each, frequencies=F.pad(each.frequencies, (0, still))) for each in found)
    return Turning(whole, tuple(of_layers), pairs)


def turn_table(rotation: Rotation, turning: int, still: int) -> tuple[Tensor, Tensor]:
    """Frequencies and amplitudes per head [heads, size / 2]; `still` heads, the last, keep what they have."""
    frequencies = rotation.frequencies.repeat(turning + still, 1)
    amplitudes = torch.full_like(frequencies, rotation.amplitude)
    frequencies[turning:], amplitudes[turning:] = 0.0, 1.0
    return frequencies, amplitudes


def _rotation(rotary: Any, rope: Any, layer_type: str, positions: Tensor) -> Rotation:
    """A frequency for each pair that turns, as its tables at some positions show."""
    prefix = f"{layer_type}_" if layer_type else ""
    if rope not in SETTLED or not hasattr(rotary, f"{prefix}inv_freq"):
        raise Unlike("its rotary frequencies are not settled beforehand")
    frequencies = getattr(rotary, f"{prefix}inv_freq").float()
    amplitude = float(getattr(rotary, f"{prefix}attention_scaling"))
    angles = positions[..., None] * frequencies.repeat(2)
    asked = (layer_type,) if layer_type else ()
    cos, sin = rotary(torch.zeros(1, device=positions.device), positions, *asked)
    for theirs, ours in ((cos, angles.cos()), (sin, angles.sin())):
        if theirs.shape != ours.shape or not torch.allclose(theirs, ours * amplitude, atol=1e-5):
            raise Unlike("its rotary tables are not those of two halves that turn")
    return Rotation(frequencies, amplitude)


def _alike(one: Rotation, other: Rotation) -> bool:
    return one.amplitude == other.amplitude and torch.equal(one.frequencies, other.frequencies)


def _neighbours(attention: Any, turned: int) -> bool:
    """Whether channels that turn together are neighbours already; else they are those of two halves.

    The first of `turned` channels, by a quarter, becomes the one that it turns with.
    """
    turn = getattr(sys.modules[type(attention).__module__], "apply_rotary_pos_emb", None)
    if turn is None:
        return False
    unit = torch.zeros(1, 1, 1, turned)
    unit[..., 0] = 1
    try:
        quarter, _ = turn(unit, unit, torch.zeros_like(unit[0]), torch.ones_like(unit[0]))
    except (TypeError, RuntimeError, IndexError) as error:  # a function of that name with other arguments
        raise Unlike("it turns its channels in a way of its own") from error
    return bool(quarter[..., 1] != 0)
