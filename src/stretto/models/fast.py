"""The fast path of a module where there is one, and else the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import Unsupported
from .agreement import gap, probe
from .alike import Alike
from .contract import Want
from .drawn.coded import Coded, Floats
from .drawn.layer import drawable
from .drawn.network import Drawn
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
LAYER_ROUNDING = 0.12  # and of what a whole layer adds


def lean_or_none(
    module: Source,
    why_not: Callable[[str], None] = lambda reason: None,
    wish: Wish = Wish(),
    build: Callable[[Weights], Lean] = Lean,
) -> Lean | None:
    """The fast path for `module`, or None where it does not apply; `why_not` is then told the reason.

    A wish for bits asks for `build=Bitwise`; where all products are over blocks, `Drawn` has them unasked. A wish for
    int8 or int4 rounds the module's own matrices first, and they stay so where there is no fast path. On success the
    module gives up the weights that were fused: its own forward no longer runs.
    """
    try:
        with torch.inference_mode(False), torch.no_grad():
            if wish.form in CODED:
                _code(module, CODED[wish.form])
            weights = fuse(module, wish)
            lean = _drawn_or_none(weights) or build(weights)
            if not wish.tried:
                with threads_for(CHECKED * lean.weights.parameters):
                    _compare(lean, module)
    except Unlike as unlike:
        why_not(str(unlike))
        return None
    release(module)
    return lean


def _drawn_or_none(weights: Weights) -> Drawn | None:
    """The network drawn for the kernels of its blocks, where it has no others and they compute alike in any window."""
    try:
        return Drawn(weights) if drawable(weights) else None
    except Unsupported:
        return None


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

    Weights in blocks are compared as what they are in floats, and so is each of their products, or each layer that is
    drawn.
    """
    rounding: list[float] = []
    if isinstance(lean, Drawn) and lean.wide is None:
        found = _compare_layers(lean, module, rounding)
    elif isinstance(lean, Drawn):  # over floats: by either kernels
        narrow = copy(lean)
        narrow.wide = None
        found = max(gap(lean, module), gap(narrow, module))
    else:
        found = gap(Lean(_in_floats(lean.weights, rounding)) if lean.numbers.blocks else lean, module)
    if not found < (1e-3 if lean.dtype is torch.float32 else 0.1):
        raise Unlike(f"its logits differ from the module's own by {found:.2%}")
    if not max(rounding, default=0.0) < ROUNDING:
        raise Unlike(f"products of its blocks differ from those of the same numbers in floats by {max(rounding):.2%}")


def _compare_layers(drawn: Drawn, module: Source, rounding: list[float]) -> float:
    """How far logits in floats are from the module's; raise Unlike where a layer adds what it does not in floats."""
    asked = probe(drawn, module)
    floats = Lean(_in_floats(drawn.weights, rounding))
    cache = floats.new_cache(slots=asked.tokens.shape[1])
    found = floats.evaluate(asked.window(cache.open()), cache, Want(hidden=(*range(drawn.layers + 1),)))
    assert found.logits is not None
    cache = drawn.new_cache(slots=asked.tokens.shape[1])
    row = cache.open()
    for layer in range(drawn.layers):
        before, after = found.hidden[layer], found.hidden[layer + 1]
        window = asked.window(row, layers=(layer, layer + 1), hidden=before)
        ours = drawn.evaluate(window, cache, Want(logits=False, hidden=(layer + 1,))).hidden[layer + 1]
        differs = float((ours - after).norm() / (after - before).norm())
        if not differs < LAYER_ROUNDING:
            raise Unlike(f"layer {layer}, in blocks, differs from the same layer in floats by {differs:.2%}")
    return asked.gap(found.logits)


def _in_floats(weights: Weights, rounding: list[float]) -> Weights:
    """The same network, whose products of blocks are made in floats, and say what rounding changes in them."""

    def exact(linear: Linear) -> Linear:
        kernel = linear.kernels[0].kernel if isinstance(linear.kernels[0], Alike) else linear.kernels[0]
        if not isinstance(kernel, Coded) or isinstance(kernel, Floats):
            return linear
        return Linear([_InFloats(kernel, rounding)] * len(linear.kernels))

    layers = [
        replace(
            layer,
            qkv=exact(layer.qkv),
            out=exact(layer.out),
            gate_up=exact(layer.gate_up),
            down=exact(layer.down),
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
