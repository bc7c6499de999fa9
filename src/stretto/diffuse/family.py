"""What this family says of itself: how an order, blocks, a refresh, a stop and the like make a method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InvalidRequest
from ..family import Drawn, Family, refuse_aided
from ..models.contract import Model, masking_of
from ..parts import describe_part
from ..steer.contract import Steer
from ..steer.pipeline import Pipeline
from .blocks.fixed import Fixed
from .method import Diffuse
from .refresh.recompute import Recompute
from .stops.fill import Fill

KINDS = ("order", "blocks", "refresh", "stop", "guidance", "guesser", "adjustment", "constraint")
USUAL: dict[str, Any] = {"blocks": Fixed(), "refresh": Recompute(), "stop": Fill()}  # where none is named
FILLS = {  # the method where none is named, by whether the model is block-causal: Fast-dLLM's, up to the end token
    False: "threshold+blocks(32)+dual-cache+end-of-text",
    True: "threshold+block-cache+end-of-text",
}


class Diffusion(Family[Diffuse]):
    """Masked-diffusion models: masks are filled."""

    name = "diffusion"
    kinds = KINDS
    about = "masked-diffusion models: masks are filled, in any order, several at once"
    method = Diffuse
    model = "zoo/masked"
    masks = True
    default = FILLS[False]
    like_plain = False
    approximate = "may differ from filling one position a step; an extreme setting of its parts gives that"
    draws = (Drawn(KINDS[:1], KINDS[1:], (0, 1, 1, 2, 2, 3)),)

    def assemble(self, text: str, chosen: Mapping[str, Any], steers: tuple[Steer, ...]) -> Diffuse:
        """See `Family.assemble`."""
        first = next(part for kind, part in chosen.items() if kind in KINDS)
        other = next((part for kind, part in chosen.items() if kind not in KINDS), None)
        if other is not None:
            raise InvalidRequest(
                f"the {other.kind} {other.name!r} continues text, the {first.kind} {first.name!r} fills masks",
                hint="leave out one of them",
            )
        if "order" not in chosen:
            raise InvalidRequest(f"method {text!r} has no order", hint=f"for example 'threshold+{text}'")
        return Diffuse(**(USUAL | dict(chosen)), steers=steers)

    def text(self, method: Diffuse) -> str:
        """See `Family.text`."""
        named = {kind: getattr(method, kind) for kind in KINDS}
        return "+".join(describe_part(part) for kind, part in named.items() if part != USUAL.get(kind))

    def usual(self, model: Model) -> str | None:
        """See `Family.usual`."""
        masking = masking_of(model)
        return None if masking is None else FILLS[masking.block is not None]

    def check(self, method: Diffuse, model: Model, pipeline: Pipeline, samples: int) -> None:
        """See `Family.check`."""
        refuse_aided(self, method, pipeline)
        method.check(model, pipeline, samples)


FAMILY = Diffusion()
