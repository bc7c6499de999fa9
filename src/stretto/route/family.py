"""What this family says of itself: a route is a method by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..family import Drawn, Family, only, refuse_aided
from ..models.contract import Model
from ..parts import describe_part
from ..steer.contract import Steer
from ..steer.pipeline import Pipeline
from .loop import Routed


class Routes(Family[Routed]):
    """Several models, one text."""

    name = "route"
    kinds = ("route",)
    about = "models that continue text: layers, or another model, for some tokens"
    method = Routed
    draws = (Drawn(("route",)),)

    def assemble(self, text: str, chosen: Mapping[str, Any], steers: tuple[Steer, ...]) -> Routed:
        """See `Family.assemble`."""
        return Routed(only(chosen, "route"), steers)

    def text(self, method: Routed) -> str:
        """See `Family.text`."""
        return describe_part(method.route)

    def check(self, method: Routed, model: Model, pipeline: Pipeline, samples: int) -> None:
        """See `Family.check`."""
        refuse_aided(self, method, pipeline)
        method.check(model, pipeline, samples)


FAMILY = Routes()
