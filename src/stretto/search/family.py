"""What this family says of itself: a search is a method by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..family import Family, only, refuse_aided
from ..models.contract import Model
from ..parts import describe_part
from ..steer.contract import Steer
from ..steer.pipeline import Pipeline
from .loop import Searched


class Searches(Family[Searched]):
    """Many candidate answers, grown and pruned."""

    name = "search"
    kinds = ("search",)
    about = "models that continue text: several answers grown and pruned"
    method = Searched

    def assemble(self, text: str, chosen: Mapping[str, Any], steers: tuple[Steer, ...]) -> Searched:
        """See `Family.assemble`."""
        return Searched(only(chosen, "search"), steers)

    def text(self, method: Searched) -> str:
        """See `Family.text`."""
        return describe_part(method.search)

    def check(self, method: Searched, model: Model, pipeline: Pipeline, samples: int) -> None:
        """See `Family.check`."""
        refuse_aided(self.text(method), pipeline)
        method.check(model, pipeline, samples)


FAMILY = Searches()
