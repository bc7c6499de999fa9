"""The weights of a Llama-shaped network as the fast path runs on them: data alone, made by fuse.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .kernel_choice import Wish
    from .linear import Linear
    from .quantised import Quantised


@dataclass(frozen=True, slots=True)
class Norm:
    """An RMS norm: `gain * x / sqrt(|x|^2 + floor^2)`."""

    gain: Tensor  # [size] the norm's weights times sqrt(size)
    floor: Tensor  # sqrt(size * eps)


@dataclass(frozen=True, slots=True)
class Rotation:
    """How far pairs of channels turn at a position."""

    frequencies: Tensor  # [head_size / 2] radians per position; 0 for channels that do not turn
    amplitude: float  # (YaRN)


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer."""

    attention_norm: Norm | None
    qkv: Linear  # [C] -> query, key and value heads
    head_norms: tuple[Norm, ...]  # of the first heads; gains [parts, channels of each], in the order of heads
    rotation: int | None  # which of the network's turns queries and keys; None: none does
    scale: float  # of the scores
    reach: int | None  # sliding window, in positions
    out: Linear
    attention_post: Norm | None  # of what attention gives, before it is added
    mlp_norm: Norm | None
    gate_up: Linear
    down: Linear
    mlp_post: Norm | None  # of what the MLP gives


@dataclass(frozen=True, slots=True)
class Weights:
    """A whole network, ready to run."""

    name: str
    table: Tensor | Quantised  # [V, C] embedding rows
    embedding_scale: float
    layers: tuple[Layer, ...]
    final_norm: Norm
    head: Linear
    heads: int  # query heads
    key_heads: int
    head_size: int
    rotations: tuple[Rotation, ...]  # kinds of layers may have each their own
    score_cap: float | None  # bounds scores, by tanh (arXiv 2408.00118)
    logit_cap: float | None  # and logits
    gelu: bool  # the MLP's gate: tanh-approximated GELU, else SiLU
    max_positions: int
    parameters: int
    wish: Wish  # how products were to be computed
    kernels: dict[str, str]  # and which kernels do it, by kind of product
    dtype: torch.dtype  # of rows
    blocks: str  # the kinds of blocks in which weights are held, if any
