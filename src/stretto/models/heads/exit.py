"""Early exits with an adapter: the target's first layers, a small layer that is trained, the target's own head.

They guess token by token as a small model does, with a cache of their own: keys of the first layers are held twice, and
a prompt passes through these layers once more. The published systems go on from the rows that drafting left; here all
layers verify.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
import torch.nn.functional as F

from ...errors import Unsupported
from .. import lean
from ..contract import Evaluation, Model, Want
from ..lean import Lean
from ..linear import threads_for
from ..vocabulary import NEVER
from ..weights import Norm, Rotation, Weights
from .block import Block, Shape, drawn, normed, product, usual
from .contract import Around, LayerHead, Unrolled
from .target import bound, lean_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..cache import Cache
    from ..window import Window


class Beside(Lean):
    """The target's first layers and the adapter as its last one. Whatever it says, nobody needs to believe it."""

    def __init__(self, weights: Weights, lm_head: Callable[[Tensor], Tensor]) -> None:
        super().__init__(weights)
        self._lm_head = lm_head

    @torch.inference_mode()
    def evaluate(self, window: Window, cache: Cache, want: Want = Want()) -> Evaluation:
        """See `Model.evaluate`; numbers beyond all bounds become the least likely."""
        with threads_for(sum(window.lengths) * self.weights.parameters):
            found, _ = self._evaluate(window, cache, want)
        if found.logits is not None:
            found.logits = found.logits.nan_to_num(nan=NEVER, posinf=-NEVER, neginf=NEVER)
        return found

    def _logits(self, rows: Tensor) -> Tensor:
        return self._lm_head(lean.normed(rows, self.weights.final_norm))


class Bare(Beside):
    """With an adapter that is attention alone."""

    def _mlp(self, index: int, rows: Tensor) -> Tensor:
        return rows if index == self.layers - 1 else super()._mlp(index, rows)


class Kangaroo(LayerHead):
    """Behind layer E: a norm, attention over the same places, and in front of the target's last norm a gain for it.

    Tensors: `input_layernorm` and `norm` [C], and `self_attn` in the target's number of heads. The publication trains a
    last norm anew; here its gain multiplies the target's, so that a fresh adapter says what the target's norm and head
    say of layer E. Settings: `exit_layer`, E, and those of a layer.
    """

    form = "kangaroo"
    network: ClassVar[type[Beside]] = Bare
    parts: ClassVar[tuple[str, ...]] = ("self_attn.",)

    def __init__(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any], name: str = "") -> None:
        self.shape = Shape.of(config)
        self.channels = self.shape.channels
        self.exit = int(config.get("exit_layer") or 1)
        super().__init__(tensors, config, name)
        self.block = Block(self.tensors, "", self.shape)

    @classmethod
    def fresh(cls, channels: int, vocabulary: int, layers: int, generator: torch.Generator, **settings: Any) -> Self:
        """Settings as in config.json; it adds nothing to the rows yet."""
        config = usual(channels, vocabulary) | settings
        tensors = drawn(cls._shapes(Shape.of(config)), generator)
        for name in tensors.keys() & {"self_attn.o_proj.weight", "mlp.down_proj.weight"}:
            tensors[name].zero_()
        return cls(tensors, config)

    @classmethod
    def suiting(cls, target: Model, ahead: int) -> dict[str, Any]:
        """The target's heads, and a third of its layers."""
        weights = lean_of(target).weights
        return {
            "exit_layer": max(1, target.layers // 3),
            "num_attention_heads": weights.heads,
            "num_key_value_heads": weights.key_heads,
            "head_dim": weights.head_size,
        }

    @classmethod
    def _shapes(cls, shape: Shape) -> dict[str, tuple[int, ...]]:
        layer = {name: each for name, each in shape.tensors().items() if name.startswith(cls.parts)}
        return {"input_layernorm.weight": (shape.channels,), "norm.weight": (shape.channels,), **layer}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return self._shapes(self.shape)

    def taps(self, layers: int) -> tuple[int, ...]:
        return (self.exit,)

    def unrolled(self, rows: Tensor, tokens: Tensor, around: Around, depth: int) -> list[Unrolled]:
        """One step: what is said at place t is that of row t + 1, whatever depth it is drafted at."""
        places = torch.arange(rows.shape[1], device=rows.device)
        rows = rows.float()
        inputs = normed(rows, self.tensors["input_layernorm.weight"], self.shape.eps)
        heads = self.block.heads_of(inputs, places.expand(len(rows), -1))
        left = self._left(rows, self.block.attend(*heads, places[:, None] >= places))
        return [Unrolled(F.pad(left[:, 1:], (0, 0, 0, 1)), partial(self._read_out, around=around))]

    def _left(self, rows: Tensor, mixed: Tensor) -> Tensor:
        return rows + F.linear(mixed, self.tensors["self_attn.o_proj.weight"])

    def _read_out(self, rows: Tensor, around: Around) -> Tensor:
        return around.lm_head(around.final_norm(rows) * self.tensors["norm.weight"])

    def check(self, model: Model) -> None:
        super().check(model)
        weights, shape = lean_of(model).weights, self.shape
        if (weights.heads, weights.key_heads, weights.head_size) != (shape.heads, shape.key_heads, shape.head_size):
            raise Unsupported(
                f"{self.name} has {shape.heads} attention heads, {model.name} {weights.heads}",
                hint="a head serves the model that it was trained for",
            )
        if self.exit >= model.layers or weights.gelu or weights.score_cap is not None:
            raise Unsupported(
                f"{model.name} has no such exit as {self.name} needs",
                hint="use a model of more layers, without GELU or bounds of its scores, or another kind of head",
            )

    def beside(self, target: Model) -> Lean:
        self.check(target)
        inner, held = lean_of(target), self.made(dict[Lean, Lean])
        if inner not in held:
            held[inner] = self._beside(inner)
        return held[inner]

    def _beside(self, target: Lean) -> Lean:
        weights, shape = target.weights, self.shape
        turning = torch.arange(0, shape.head_size, 2, device=target.device) / shape.head_size
        last = weights.final_norm
        own = replace(
            weights.layers[0],
            attention_norm=self._norm("input_layernorm.weight"),
            head_norms=(),
            rotation=len(weights.rotations),
            scale=shape.head_size**-0.5,
            reach=None,
            attention_post=None,
            **self._products(),
        )
        return self.network(
            replace(
                weights,
                name=self.name,
                layers=(*weights.layers[: self.exit], own),
                rotations=(*weights.rotations, Rotation(shape.theta**-turning, 1.0)),
                final_norm=Norm(last.gain * self.tensors["norm.weight"].to(last.gain.device), last.floor),
                parameters=weights.parameters * (self.exit + 1) // target.layers,
            ),
            bound(target, self.common).lm_head,
        )

    def _norm(self, name: str) -> Norm:
        size = self.channels
        return Norm(self.tensors[name] * size**0.5, torch.tensor((size * self.shape.eps) ** 0.5))

    def _products(self) -> dict[str, Any]:
        """What the layer has of its own, but for its first norm: those that turn together are neighbours."""
        pairs = torch.arange(self.shape.head_size).view(2, -1).t().flatten()
        query, key, value = (self.tensors[f"self_attn.{each}_proj.weight"] for each in ("q", "k", "v"))
        turned = [each.view(-1, self.shape.head_size, self.channels)[:, pairs].flatten(0, 1) for each in (query, key)]
        return {"qkv": product(*turned, value), "out": product(self.tensors["self_attn.o_proj.weight"])}


class Eesd(Kangaroo):
    """The same with a whole layer behind layer E, its MLP and the norm before that too.

    The publication gives it a head of its own; here the target's serves.
    """

    form = "eesd"
    network = Beside
    parts = ("self_attn.", "mlp.", "post_attention_layernorm.")

    def _left(self, rows: Tensor, mixed: Tensor) -> Tensor:
        return self.block.leave(rows, mixed)

    def _products(self) -> dict[str, Any]:
        tensors = self.tensors
        return super()._products() | {
            "mlp_norm": self._norm("post_attention_layernorm.weight"),
            "gate_up": product(tensors["mlp.gate_proj.weight"], tensors["mlp.up_proj.weight"]),
            "down": product(tensors["mlp.down_proj.weight"]),
            "mlp_post": None,
        }
