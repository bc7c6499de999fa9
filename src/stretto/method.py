"""A method as parts: its text form, and the check that its parts fit together.

plain                                   no drafting
lookup                                  a drafter; acceptor and planner are the defaults
draft(model=zoo/draft)+fixed(8)         parts joined by "+", settings in parentheses
prompt-lookup                           a system of the catalogue by its name
entropy(small=zoo/draft)                a route or a search, which decodes by itself
fuse(lookup(5),draft)                   parts that hold parts
threshold(0.9)+blocks(32)+dual-cache    for masked-diffusion models: an order and blocks, refresh, stop …
lookup+top_a(0.2)+ban(3,17)             with steers, as many as one likes
lookup+regex("[a-z]+")                  with a constraint
lookup+contrastive-decoding             or with a system of the catalogue that is one of these

What parts make a method, and for which models, is the matter of its family (family.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from . import catalogue
from .constrain.contract import Constraint
from .errors import InvalidRequest, Unsupported
from .family import families, family_of
from .loop import Method
from .models.contract import Model, masking_of
from .parts import describe_part, named, pieces_of, read_part
from .steer.contract import Steer
from .steer.pipeline import Pipeline
from .steer.temperature import Temperature
from .values import shown

PLAIN = "plain"  # the word for no parts
GREEDY = Pipeline([Temperature(0.0)])


def default(model: Model) -> str:
    """The method for a model where none is named."""
    return next(text for family in families() if (text := family.usual(model)) is not None)


def parse(text: str | Method | Any) -> Method:
    """A method from its text form, or from one part by value; a method passes through.

    Raises UnknownName for an unknown part or system, InvalidRequest for settings it does not take.
    """
    if isinstance(text, Method):
        return text
    if hasattr(type(text), "kind"):
        return _assembled(describe_part(text), [text])
    if not isinstance(text, str):
        raise InvalidRequest(f"{shown(text)} is no method", hint="a text such as 'lookup+fixed(8)'")
    pieces = [part for piece in pieces_of(text) for part in _beside(piece)]
    if not pieces:
        raise InvalidRequest("the method is empty", hint="for example 'lookup', or 'plain' for no drafting")
    beside = [piece for piece in pieces if issubclass(named(piece) or object, Steer | Constraint)]
    rest = [piece for piece in pieces if piece not in beside]
    if len(rest) == 1 and (entry := catalogue.entries().get(rest[0])):
        if entry.command:
            raise InvalidRequest(f"{entry.name!r} is no way of decoding", hint=f"see `{entry.command}`")
        rest = pieces_of(entry.parts)
    parts = [read_part(piece) for piece in [*rest, *beside] if piece != PLAIN]  # before: one may be misspelt
    if PLAIN in rest and set(rest) != {PLAIN}:
        raise InvalidRequest(f"method {text!r}: 'plain' drafts nothing", hint="leave out 'plain' or the rest")
    return _assembled(text, parts)


def _beside(piece: str) -> list[str]:
    """The parts of a system that is a steer or a constraint, as it may stand beside any others; else the piece."""
    entry = catalogue.entries().get(piece)
    if entry is None or entry.command or entry.family not in (Steer.kind, Constraint.kind):
        return [piece]
    return [part for part in pieces_of(entry.parts) if part != PLAIN]


def _assembled(text: str, parts: Sequence[Any]) -> Method:
    """The method of these parts, which `text` names; what is not named is the default."""
    chosen: dict[str, Any] = {}
    steers = tuple(part for part in parts if isinstance(part, Steer))
    for part in (part for part in parts if not isinstance(part, Steer)):
        if part.kind in chosen:
            raise InvalidRequest(
                f"method {text!r} names two of a kind, {part.kind}: {chosen[part.kind].name} and {part.name}",
                hint=f"name one {part.kind}",
            )
        chosen[part.kind] = part
    if "store" in chosen:
        raise InvalidRequest(
            f"{chosen['store'].name} is a store: it is the engine's", hint="give it as store=, or --store"
        )
    constraint = chosen.pop("constraint") if isinstance(chosen.get("constraint"), Constraint) else None
    meant = [family for family in families() if chosen.keys() & set(family.kinds)]
    family = meant[-1] if meant else next(family for family in families() if family.bare)  # of several, it complains
    made: Method = family.assemble(text, chosen, steers)
    return obeying(made, constraint)


def obeying(method: Method, constraint: Constraint | None) -> Method:
    """The method under a constraint. Raises InvalidRequest where it has one already."""
    if constraint is None:
        return method
    if method.constraint is not None:
        raise InvalidRequest(
            f"there are two constraints, {method.constraint.name} and {constraint.name}",
            hint="give one: in the method, or as constraint=",
        )
    return replace(method, constraint=constraint)


def along_paths(method: Method) -> Constraint | None:
    """The constraint that is kept token by token, from the left; canvases keep theirs by themselves."""
    constraint: Constraint | None = None if family_of(type(method)).masks else method.constraint
    return constraint


def check(method: Method, model: Model, pipeline: Pipeline = GREEDY, samples: int = 1) -> None:
    """Refuse, before any work, what cannot be exact; the pipeline holds the method's steers as well.

    Raises Unsupported with a hint, or InvalidRequest where a steer names a token that the model lacks.
    """
    pipeline.check(model.vocabulary)
    family = family_of(type(method))
    if masking_of(model) is not None and not family.masks:
        raise Unsupported(
            f"{model.name} fills masks; it does not continue text, as {describe(method)!r} does",
            hint="use method='fast-dllm', or 'bd3lm' for a block-causal model",
        )
    family.check(method, model, pipeline, samples)


def complete(method: Method, model: Model) -> Method:
    """The method with what it leaves to the engine: which drafters `auto` fuses for this model."""
    whole: Method = family_of(type(method)).complete(method, model)
    return whole


def unaided(method: Method) -> Method:
    """Plain decoding under the same steers: what an exact method is held against."""
    return replace(parse(PLAIN), steers=method.steers, constraint=along_paths(method))


def describe(method: Method) -> str:
    """The text form that gives this method again, defaults left out."""
    text = family_of(type(method)).text(method)
    entry = catalogue.entries().get(text)  # a system of the same name may be more than this part
    if entry is not None and entry.parts != text:
        text += "()"
    beside = [*method.steers, *([] if (constraint := along_paths(method)) is None else [constraint])]
    return "+".join([text, *map(describe_part, beside)])


__all__ = ["Method", "check", "complete", "default", "describe", "describe_part", "parse", "unaided"]
