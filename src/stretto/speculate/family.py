"""What this family says of itself: how drafter, acceptor and planner make a method, and what `auto` drafts with."""

from __future__ import annotations

import filecmp
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import catalogue
from ..entry import Guarantee
from ..errors import InvalidRequest, Unsupported
from ..family import Drawn, Family
from ..models.contract import Ability, Model
from ..models.numbers import weights_of
from ..parts import describe_part
from ..steer.abilities import require_inside
from ..steer.contract import Steer
from ..steer.pipeline import Pipeline
from .acceptors.exact import Exact
from .contract import Acceptor, Drafter, Planner
from .drafters.forced import Forced
from .drafters.fuse import Auto
from .drafters.model import DraftModel
from .drafters.pool import Pool
from .drafters.suffix import Suffix
from .loop import Speculate
from .planners.cheapest import Cheapest
from .planners.fixed import Fixed

EXACT, MEASURED = Exact(), Cheapest()
STEADY = Fixed(16, depth=8)  # chains of 8, trees of 16 nodes
WORTH_POOLING = 30_000_000  # weights from which on weighing all signs is a small part of a forward
DRAWN = (("drafter",), ("drafter", "acceptor"), ("drafter", "planner"), ("drafter", "acceptor", "planner"))


class Speculating(Family[Speculate]):
    """Draft and verify; with no drafter, plain decoding."""

    name = "speculate"
    kinds = ("drafter", "acceptor", "planner", "layers")
    about = "models that continue text: tokens are guessed and verified"
    method = Speculate
    bare = True
    default = Auto.name
    draws = tuple(map(Drawn, 2 * DRAWN))

    def assemble(self, text: str, chosen: Mapping[str, Any], steers: tuple[Steer, ...]) -> Speculate:
        """See `Family.assemble`."""
        if layers := chosen.get("layers"):
            raise InvalidRequest(f"{layers.name!r} is a setting of a drafter", hint=f"draft({describe_part(layers)})")
        if chosen and "drafter" not in chosen:
            raise InvalidRequest(f"method {text!r} has no drafter", hint=f"for example 'lookup+{text}'")
        accept = chosen.get("acceptor", EXACT)
        return Speculate(chosen.get("drafter"), accept, chosen.get("planner", usual_plan(accept)), steers)

    def text(self, method: Speculate) -> str:
        """See `Family.text`."""
        if method.draft is None:
            return "plain"
        parts: list[Any] = [method.draft] if method.accept == EXACT else [method.draft, method.accept]
        if method.plan != usual_plan(method.accept):
            parts.append(method.plan)
        return "+".join(map(describe_part, parts))

    def check(self, method: Speculate, model: Model, pipeline: Pipeline, samples: int) -> None:
        """See `Family.check`."""
        if pipeline.aided:
            require_inside(pipeline, model)
        if method.draft is not None:
            _check_drafter(method.draft, method.accept, model)

    def complete(self, method: Speculate, model: Model) -> Speculate:
        """See `Family.complete`: which drafters `auto` fuses for this model."""
        if not isinstance(method.draft, Auto) or method.draft.parts:
            return method
        trees = Ability.TREE in model.abilities
        pooled = trees and weights_of(model) > WORTH_POOLING
        parts: list[Drafter] = [Pool(method.draft.earlier) if pooled else Suffix(factor=16.0)]
        if trees:  # what two draft together is a tree
            parts += beside(model)
        if method.constraint is not None:  # what must follow comes first
            parts.insert(0, Forced())
        return replace(method, draft=replace(method.draft, parts=tuple(parts)))


FAMILY = Speculating()


def usual_plan(accept: Acceptor) -> Planner:
    """Where none is named: one that measures, unless what is drafted changes the tokens, so that a seed reproduces."""
    return MEASURED if accept.guarantee is Guarantee.EXACT else STEADY


def _check_drafter(drafter: Drafter, accept: Acceptor, model: Model) -> None:
    """Raise Unsupported where the acceptor cannot judge what is drafted, or the model cannot verify it."""
    if foreign := drafter.proposals - accept.accepts:
        kinds = ", ".join(sorted(kind.value for kind in foreign))
        raise Unsupported(
            f"acceptor {accept.name!r} cannot judge the {kinds} proposals of drafter {drafter.name!r}",
            hint=f"use {_judges(drafter)}",
        )
    if not accept.judges_siblings(drafter):
        raise Unsupported(
            f"acceptor {accept.name!r} cannot judge the {drafter.siblings.value} of drafter {drafter.name!r}",
            hint=f"use {_judges(drafter)}",
        )
    missing: Any = drafter.needs & ~model.abilities
    if missing:
        raise Unsupported(
            f"drafter {drafter.name!r} needs {', '.join(each.name.lower() for each in missing)} of {model.name}",
            hint="set it to draft a chain, or use another drafter",
        )


def beside(model: Model) -> list[Drafter]:
    """What drafts by the model `draft` that lies in or beside a checkpoint, with its tokenizer; else by its `head`."""
    folder = Path(model.name)
    tokenizer, places = folder / "tokenizer.json", (folder, folder.parent)
    for place in (each / "draft" for each in places):
        twin = place / "tokenizer.json"
        if place != folder and tokenizer.is_file() and twin.is_file() and filecmp.cmp(tokenizer, twin, shallow=False):
            return [DraftModel(str(place))]
    from .head_model import drafters

    return drafters([each / "head" for each in places], model)


def _judges(drafter: Drafter) -> str:
    """The acceptors that may judge what a drafter proposes, by name."""
    acceptors = [part for part in catalogue.parts().values() if part.kind == "acceptor"]
    return ", ".join(
        repr(part.name)
        for part in sorted(acceptors, key=lambda part: (part.name != EXACT.name, part.name))
        if drafter.proposals <= part.accepts and part.judges_siblings(drafter)
    )
