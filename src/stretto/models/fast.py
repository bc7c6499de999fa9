"""The fast path of a module where there is one, and else the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from .agreement import gap
from .alike import Alike
from .coded import Coded
from .fuse import fuse, release
from .kernel_choice import CODED, Wish
from .lean import Lean
from .linear import Kernel, Linear, dense, threads_for
from .quantised import QuantisedLinear, rounded
from .source import Source, Unlike
from .weights import Weights

SMALLEST = 32  # weights in a block
CHECKED = 24  # tokens, about, on which the module must agree
ROUNDING = 0.04  # of a product's length, that rounding its inputs to eight bits may change


def lean_or_none(
    module: Source,
    why_not: Callable[[str], None] = lambda reason: None,
    wish: Wish = Wish(),
    build: Callable[[Weights], Lean] = Lean,
) -> Lean | None:
    """The fast path for `module`, or None where it does not apply; `why_not` is then told the reason.

    A wish for bits asks for `build=Bitwise`; one for int8 or int4 rounds the module's own matrices first, and they
    stay so where there is no fast path. On success the module gives up the weights that were fused: its own forward no
    longer runs.
    """
    try:
        with torch.inference_mode(False), torch.no_grad():
            if wish.form in CODED:
                _code(module, CODED[wish.form])
            lean = build(fuse(module, wish))
            with threads_for(CHECKED * lean.weights.parameters):
                _compare(lean, module)
    except Unlike as unlike:
        why_not(str(unlike))
        return None
    release(module)
    return lean


def _code(module: Source, kind: str) -> None:
    """Hold its matrices in blocks; the head in eight bits at least."""
    head, found = module.get_output_embeddings(), False
    for owner in [*module.modules()]:
        for name, part in [*owner.named_children()]:
            if type(part) is nn.Linear and not part.in_features % SMALLEST:
                of = CODED["int8"] if part is head else kind
                setattr(owner, name, QuantisedLinear(rounded(part.weight.detach(), of), part.bias))
                found = True
    if not found:
        raise Unlike(f"none of its matrices has inputs in whole blocks of {SMALLEST}")


def _compare(lean: Lean, module: Source) -> None:
    """Raise Unlike where the logits of probing tokens differ from the module's own.

    Weights in blocks are compared as what they are in floats, and so is each of their products.
    """
    rounding: list[float] = []
    if lean.numbers.blocks:
        lean = Lean(_in_floats(lean.weights, rounding))
    found = gap(lean, module)
    if not found < (1e-3 if lean.dtype is torch.float32 else 0.1):
        raise Unlike(f"its logits differ from the module's own by {found:.2%}")
    if not max(rounding, default=0.0) < ROUNDING:
        raise Unlike(f"products of its blocks differ from those of the same numbers in floats by {max(rounding):.2%}")


def _in_floats(weights: Weights, rounding: list[float]) -> Weights:
    """The same network, whose products of blocks are made in floats, and say what rounding changes in them."""

    def exact(linear: Linear) -> Linear:
        kernel = linear.kernels[0].kernel if isinstance(linear.kernels[0], Alike) else linear.kernels[0]
        if not isinstance(kernel, Coded):
            return linear
        return Linear([_InFloats(kernel, rounding)] * len(linear.kernels))

    layers = [
        replace(
            layer,
            qkv=exact(layer.qkv),
            out=exact(layer.out),
            gate_up=exact(layer.gate_up),
            down=exact(layer.down),
            normed_qkv=None,
            whole_mlp=None,
        )
        for layer in weights.layers
    ]
    return replace(weights, layers=tuple(layers), head=exact(weights.head))


@dataclass(frozen=True)
class _InFloats:
    """A product of blocks, made slowly, and what the fast one differs by."""

    coded: Kernel
    rounding: list[float]  # one more with each product, as a share of its length

    def __call__(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        assert isinstance(self.coded, Coded)
        product = functional.linear(x, dense(self.coded.weight), self.coded.bias)
        self.rounding.append(float((self.coded(x) - product).norm() / product.norm()))
        return product if add is None else product + add
