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
"""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from . import catalogue
from .constrain.contract import Constraint
from .diffuse import loop as diffuse
from .diffuse.blocks.fixed import Fixed as FixedBlocks
from .diffuse.method import Diffuse
from .diffuse.refresh.recompute import Recompute
from .diffuse.stops.fill import Fill
from .entry import Guarantee
from .errors import InvalidRequest, Unsupported
from .models.contract import Ability, Model, Want
from .models.masked import masking_of
from .parts import describe_part, named, pieces_of, read_part
from .route import loop as route
from .route.loop import Routed
from .search import loop as search
from .search.loop import Searched
from .speculate import loop as speculate
from .speculate.acceptors.exact import Exact
from .speculate.contract import Acceptor, Drafter, Planner
from .speculate.drafters.fuse import Auto
from .speculate.drafters.model import DraftModel
from .speculate.drafters.recycle import Recycle
from .speculate.drafters.suffix import Suffix
from .speculate.loop import Speculate
from .speculate.planners.cheapest import Cheapest
from .speculate.planners.fixed import Fixed
from .steer.contract import Steer
from .steer.pipeline import Pipeline
from .steer.temperature import Temperature
from .values import shown

Method = Speculate | Routed | Searched | Diffuse  # each gives its family's loop
Loop = speculate.Loop | route.Loop | search.Loop | diffuse.Loop

ALONE: dict[str, Any] = {"route": Routed, "search": Searched}  # kinds of part that are a method by themselves
# kinds of part for masked-diffusion models
FILLING = ("order", "blocks", "refresh", "stop", "guidance", "guesser", "adjustment", "constraint")
FILLED: dict[str, Any] = {"blocks": FixedBlocks(), "refresh": Recompute(), "stop": Fill()}  # where none is named
CONTINUES = "auto"  # the method where none is named
FILLS = {  # the same for masked-diffusion models, by whether they are block-causal: Fast-dLLM's, up to the end token
    False: "threshold+blocks(32)+dual-cache+end-of-text",
    True: "threshold+block-cache+end-of-text",
}
GREEDY = Pipeline([Temperature(0.0)])
PLAIN = Speculate(draft=None, accept=Exact(), plan=Cheapest())
STEADY = Fixed(16, depth=8)  # chains of 8, trees of 16 nodes
WORTH_WATCHING = 30_000_000  # weights from which on looking at every node's logits is a small part of a forward


def default(model: Model) -> str:
    """The method for a model where none is named."""
    masking = masking_of(model)
    return CONTINUES if masking is None else FILLS[masking.block is not None]


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
    pieces = pieces_of(text)
    if not pieces:
        raise InvalidRequest("the method is empty", hint="for example 'lookup', or 'plain' for no drafting")
    beside = [piece for piece in pieces if issubclass(named(piece) or object, Steer | Constraint)]
    rest = [piece for piece in pieces if piece not in beside]
    if len(rest) == 1 and (entry := catalogue.entries().get(rest[0])):
        if entry.command:
            raise InvalidRequest(f"{entry.name!r} is no way of decoding", hint=f"see `{entry.command}`")
        rest = pieces_of(entry.parts)
    if "plain" in rest and set(rest) != {"plain"}:
        raise InvalidRequest(f"method {text!r}: 'plain' drafts nothing", hint="leave out 'plain' or the rest")
    return _assembled(text, [read_part(piece) for piece in [*rest, *beside] if piece != "plain"])


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
    constraint = chosen.pop("constraint") if isinstance(chosen.get("constraint"), Constraint) else None
    for kind, alone in ALONE.items():
        if kind in chosen:
            if len(chosen) > 1:
                raise InvalidRequest(f"the {kind} {chosen[kind].name!r} decodes by itself", hint="leave out the rest")
            return obeying(cast(Method, alone(chosen[kind], steers=steers)), constraint)
    if filling := [kind for kind in chosen if kind in FILLING]:
        return obeying(replace(_diffuse(text, chosen, filling), steers=steers), constraint)
    if chosen and "drafter" not in chosen:
        raise InvalidRequest(f"method {text!r} has no drafter", hint=f"for example 'lookup+{text}'")
    return Speculate(
        draft=chosen.get("drafter"),
        accept=chosen.get("acceptor", PLAIN.accept),
        plan=chosen.get("planner", usual_plan(chosen.get("acceptor", PLAIN.accept))),
        steers=steers,
        constraint=constraint,
    )


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
    return None if isinstance(method, Diffuse) else method.constraint


def usual_plan(accept: Acceptor) -> Planner:
    """The planner where none is named: one that measures, or, where what is drafted changes the tokens, one that does
    not, so that a seed reproduces."""
    return PLAIN.plan if accept.guarantee is Guarantee.EXACT else STEADY


def repeats(method: Method, pipeline: Pipeline) -> bool:
    """Whether the same call gives the same tokens again."""
    return not isinstance(method, Speculate) or method.repeats(pipeline.greedy)


def _diffuse(text: str, chosen: dict[str, Any], filling: list[str]) -> Diffuse:
    """The method of parts that fill canvases."""
    other = next((part for kind, part in chosen.items() if kind not in FILLING), None)
    if other is not None:
        raise InvalidRequest(
            f"the {other.kind} {other.name!r} continues text, the {filling[0]} {chosen[filling[0]].name!r} fills masks",
            hint="leave out one of them",
        )
    if "order" not in chosen:
        raise InvalidRequest(f"method {text!r} has no order", hint=f"for example 'threshold+{text}'")
    return Diffuse(**(FILLED | chosen))


def check(method: Method, model: Model, pipeline: Pipeline = GREEDY, samples: int = 1) -> None:
    """Refuse, before any work, what cannot be exact; the pipeline holds the method's steers as well.

    Raises Unsupported with a hint, or InvalidRequest where a steer names a token that the model lacks.
    """
    pipeline.check(model.vocabulary)
    if masking_of(model) is not None and not isinstance(method, Diffuse):
        raise Unsupported(
            f"{model.name} fills masks; it does not continue text, as {describe(method)!r} does",
            hint="use method='fast-dllm', or 'bd3lm' for a block-causal model",
        )
    if not isinstance(method, Speculate):
        if pipeline.aided:
            aided = next(step for step in pipeline.steps if step.aided)
            raise Unsupported(
                f"{aided.name} looks inside of the model or at other readings, which {describe(method)!r} has not",
                hint="leave it out; 'plain' and methods that draft have it",
            )
        method.check(model, pipeline, samples)
        return
    _check_wants(pipeline.wants, model)
    drafter = method.draft
    if drafter is None:
        return
    foreign = drafter.proposals - method.accept.accepts
    if foreign:
        kinds = ", ".join(sorted(kind.value for kind in foreign))
        raise Unsupported(
            f"acceptor {method.accept.name!r} cannot judge the {kinds} proposals of drafter {drafter.name!r}",
            hint=f"use {_judges(drafter)}",
        )
    if not method.accept.judges_siblings(drafter):
        raise Unsupported(
            f"acceptor {method.accept.name!r} cannot judge the {drafter.siblings.value} of drafter {drafter.name!r}",
            hint=f"use {_judges(drafter)}",
        )
    missing = drafter.needs & ~model.abilities
    if missing:
        raise Unsupported(
            f"drafter {drafter.name!r} needs {_names(missing)}, which {model.name} cannot do",
            hint="set it to draft a chain, or use another drafter",
        )


def _check_wants(want: Want, model: Model) -> None:
    """Raise Unsupported where steers want of an evaluation what the model does not hand out."""
    missing = Ability.HIDDEN if want.hidden or want.readout else Ability.NONE
    missing = (missing | (Ability.ATTENTION if want.attention else Ability.NONE)) & ~model.abilities
    if missing:
        raise Unsupported(
            f"a steer needs {_names(missing)}, which {model.name} does not hand out", hint="leave the steer out"
        )
    layers = [layer for layer in (*want.hidden, *want.readout) if not 0 <= layer <= model.layers]
    heads = [at for at in want.attention if not (0 <= at[0] < model.layers and 0 <= at[1] < model.heads)]
    if layers or heads:
        raise Unsupported(
            f"a steer looks at {f'layer {layers[0]}' if layers else f'head {heads[0]}'}, which {model.name} lacks",
            hint=f"it has layers 0 (the embedding) to {model.layers}, of {model.heads} heads each",
        )


def complete(method: Method, model: Model) -> Method:
    """The method with what `auto` leaves to the engine: which drafters to fuse for this model."""
    if not (isinstance(method, Speculate) and isinstance(method.draft, Auto) and not method.draft.parts):
        return method
    parts: list[Drafter] = [Suffix(factor=16.0)]  # how much of it is worth verifying is the planner's matter
    if Ability.TREE in model.abilities:  # what several draft together is a tree
        if weights_of(model) > WORTH_WATCHING:
            parts.append(Recycle(prompt=False))
        if (draft := beside(Path(model.name))) is not None:
            parts.append(DraftModel(str(draft)))
    return replace(method, draft=Auto(tuple(parts)))


def weights_of(model: Model) -> int:
    """About how many a forward reads."""
    return 12 * model.layers * model.channels**2 + model.vocabulary * model.channels


def beside(folder: Path) -> Path | None:
    """The draft model that lies in or beside a checkpoint's folder under the name `draft`, with the same tokenizer."""
    tokenizer = folder / "tokenizer.json"
    for place in (folder / "draft", folder.parent / "draft"):
        twin = place / "tokenizer.json"
        if place != folder and tokenizer.is_file() and twin.is_file() and filecmp.cmp(tokenizer, twin, shallow=False):
            return place
    return None


def unaided(method: Method) -> Method:
    """Plain decoding under the same steers: what an exact method is held against."""
    return replace(PLAIN, steers=method.steers, constraint=along_paths(method))


def describe(method: Method) -> str:
    """The text form that gives this method again, defaults left out."""
    text = _text(method)
    entry = catalogue.entries().get(text)  # a system of the same name may be more than this part
    if entry is not None and entry.parts != text:
        text += "()"
    beside = [*method.steers, *([] if (constraint := along_paths(method)) is None else [constraint])]
    return "+".join([text, *map(describe_part, beside)])


def _text(method: Method) -> str:
    if isinstance(method, Diffuse):
        named = {kind: getattr(method, kind) for kind in FILLING}
        return "+".join(describe_part(part) for kind, part in named.items() if part != FILLED.get(kind))
    if not isinstance(method, Speculate):
        return describe_part(method.route if isinstance(method, Routed) else method.search)
    if method.draft is None:
        return "plain"
    parts: list[Any] = [method.draft]
    if method.accept != PLAIN.accept:
        parts.append(method.accept)
    if method.plan != usual_plan(method.accept):
        parts.append(method.plan)
    return "+".join(map(describe_part, parts))


def _judges(drafter: Drafter) -> str:
    """The acceptors that may judge what a drafter proposes, by name."""
    acceptors = [part for part in catalogue.parts().values() if part.kind == "acceptor"]
    return ", ".join(
        repr(part.name)
        for part in sorted(acceptors, key=lambda part: (part.name != PLAIN.accept.name, part.name))
        if drafter.proposals <= part.accepts and part.judges_siblings(drafter)
    )


def _names(ability: Any) -> str:
    return ", ".join(member.name.lower() for member in ability)


__all__ = ["PLAIN", "Drafter", "Method", "check", "default", "describe", "describe_part", "parse", "unaided"]
