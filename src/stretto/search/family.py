"""What this family says of itself: a search is a method, and what drafts for its branches stands beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..errors import InvalidRequest
from ..family import Family, only, refuse_aided
from ..models.contract import Model
from ..parts import describe_part
from ..speculate.family import FAMILY as DRAFTING
from ..steer.contract import Steer
from ..steer.pipeline import Pipeline
from .loop import Searched


class Searches(Family[Searched]):
    """Many candidate answers, grown and pruned."""

    name = "search"
    kinds = ("search", "scorer", "segmenter", "critic", "bound")
    about = "models that continue text: several answers grown and pruned"
    method = Searched

    def assemble(self, text: str, chosen: Mapping[str, Any], steers: tuple[Steer, ...]) -> Searched:
        """See `Family.assemble`: beside a search whose branches are rows, what drafts for them."""
        drafts = {kind: part for kind, part in chosen.items() if kind in DRAFTING.kinds}
        if other := next((part for kind, part in chosen.items() if kind in self.kinds[1:]), None):
            raise InvalidRequest(
                f"the {other.kind} {other.name!r} is a setting of a search", hint=f"write guided({other.kind}=…), say"
            )
        if not drafts or not chosen["search"].forks:
            return Searched(only(chosen, "search"), steers)
        search = only({kind: part for kind, part in chosen.items() if kind not in drafts}, "search")
        return Searched(search, steers, drafts=DRAFTING.assemble(text, drafts, ()))

    def text(self, method: Searched) -> str:
        """See `Family.text`."""
        drafts = [] if method.drafts.draft is None else [DRAFTING.text(method.drafts)]
        return "+".join([describe_part(method.search), *drafts])

    def check(self, method: Searched, model: Model, pipeline: Pipeline, samples: int) -> None:
        """See `Family.check`."""
        if method.search.forks:
            DRAFTING.check(method.drafts, model, pipeline, samples)
        else:
            refuse_aided(self, method, pipeline)
        method.check(model, pipeline, samples)

    def complete(self, method: Searched, model: Model) -> Searched:
        """See `Family.complete`."""
        return replace(method, drafts=DRAFTING.complete(method.drafts, model))


FAMILY = Searches()
