"""The fast path of a module where there is one, and else the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .agreement import gap
from .fuse import Source, Unlike, Weights, fuse, release
from .kernel_choice import Wish
from .lean import Lean
from .linear import threads_for

CHECKED = 24  # tokens, about, on which the module must agree


def lean_or_none(
    module: Source,
    why_not: Callable[[str], None] = lambda reason: None,
    wish: Wish = Wish(),
    build: Callable[[Weights], Lean] = Lean,
) -> Lean | None:
    """The fast path for `module`, or None where it does not apply; `why_not` is then told the reason.

    A wish for int8 is for float32 modules on the CPU; one for bits asks for `build=Bitwise`. On success the module
    gives up the weights that were fused: its own forward no longer runs.
    """
    try:
        with torch.inference_mode(False), torch.no_grad():
            lean = build(fuse(module, wish))
            with threads_for(CHECKED * lean.weights.parameters):
                _compare(lean, module)
    except Unlike as unlike:
        why_not(str(unlike))
        return None
    release(module)
    return lean


def _compare(lean: Lean, module: Source) -> None:
    """Raise Unlike where the logits of probing tokens differ from the module's own."""
    found = gap(lean, module)
    if not found < (1e-3 if lean.dtype is torch.float32 and not lean.numbers.int8 else 0.1):
        raise Unlike(f"its logits differ from the module's own by {found:.2%}")
