"""Layouts in which heads are published elsewhere: the names of their tensors tell which, and are made into ours.

Nothing is left out in silence: what no tensor of ours stands for is refused, but for copies of the target's own table
and head, which the target serves.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import torch

from ...errors import Unsupported

if TYPE_CHECKING:
    from torch import Tensor

    Named = dict[str, Tensor]

SIGNS = {  # tensors that such a head has, and no other
    "fusion_fc.weight": "eagle of speculators",
    "hydra_mlp.0.0.linear.weight": "hydra",
    "hydra_mlp.0.1.linear.weight": "hydra",
    "0.0.linear.bias": "medusa",
    "midlayer.self_attn.q_proj.weight": "eagle3",
    "layers.0.hidden_norm.weight": "eagle3",
    "fc.weight": "eagle",
}
COPIES = re.compile(r"embed_tokens\.weight|t2d|verifier_.+|.+\.inv_freq")  # of what the target has itself


def layout_of(names: Collection[str]) -> str | None:
    """The layout of a head with tensors of these names; None where they are no head's."""
    held = set(names)
    return next((layout for sign, layout in SIGNS.items() if sign in held), None)


def converted(layout: str, tensors: Mapping[str, Tensor], said: Mapping[str, Any]) -> tuple[str, Named, dict[str, Any]]:
    """Kind, tensors and configuration as ours. Raises Unsupported where a head has more than its kind computes here."""
    held = {name: each for name, each in tensors.items() if not COPIES.fullmatch(name)}
    config = {**said, **(said.get("transformer_layer_config") or {})}  # what speculators says of the layer
    for setting in ("layernorms", "norm_before_fc", "embed_requires_grad"):
        if config.get(setting):
            raise Unsupported(f"a head of {layout} with {setting}", hint="one without it is served")
    if layout == "medusa":
        return "medusa", held, config
    if layout == "hydra":
        return ("hydra", *_hydra(held, config))
    if layout == "eagle3":
        return "eagle3", _renamed(held, {"layers.0.": "midlayer."}), config
    held.pop("lm_head.weight", None)  # a copy, for its rows are the target's
    eagle = _renamed(held, {"fusion_fc.": "fc.", "transformer.": "layers.0."})
    return "eagle", {"fc.bias": torch.zeros(len(eagle["fc.weight"])), **eagle}, config


def _renamed(tensors: Named, starts: Mapping[str, str]) -> Named:
    """By names that begin otherwise."""
    found = {}
    for name, each in tensors.items():
        old = next((old for old in starts if name.startswith(old)), "")
        found[starts.get(old, "") + name[len(old) :]] = each
    return found


def _hydra(tensors: Named, config: Mapping[str, Any]) -> tuple[Named, dict[str, Any]]:
    """`hydra_mlp.i.j`, j counting dropout too, and `hydra_lm_head.i`, which may stand behind dropout."""
    found: Named = {}
    for name, each in tensors.items():
        parts = name.split(".")
        if parts[0] == "hydra_mlp":
            blocks = sorted({int(key.split(".")[2]) for key in tensors if key.startswith(f"hydra_mlp.{parts[1]}.")})
            block, last = blocks.index(int(parts[2])), parts[-1]
            first = {
                "res_connection": {"weight": "enter", "bias": "enter_bias"},
                "linear": {"weight": "gate", "bias": "bias"},
            }
            found[f"{parts[1]}.{first[parts[3]][last] if block == 0 else f'more.{block - 1}.{last}'}"] = each
        elif parts[0] == "hydra_lm_head":
            found[f"{parts[1]}.head.{parts[-1]}"] = each
        else:
            found[name] = each
    return found, {"heads": sum(name.endswith(".gate") for name in found), **config}
