"""What the annotations of settings and options say: which kinds of values they allow, and how to put it in words."""

from __future__ import annotations

import math
import types
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

Unbounded = Annotated[float, math.inf]  # a number that may be infinite; nothing else may


@cache
def is_text(kind: Any) -> bool:
    """Whether a text stands for itself there: the name of a file, a model, one of a few words."""
    kinds = get_args(kind) if is_union(kind) else (kind,)
    return str in kinds or any(get_origin(each) is Literal or is_enum(each) for each in kinds)


@cache
def kinds_beside(kind: Any) -> frozenset[str]:
    """The kinds of parts that may stand there as well as something else: a text, a model."""
    return frozenset(each.kind for each in get_args(kind) if hasattr(each, "kind")) if is_union(kind) else frozenset()


@cache
def is_several(kind: Any) -> bool:
    """Whether several values may stand there: a tuple, a set of tokens, but no mapping."""
    origins = [get_origin(each) for each in (get_args(kind) if is_union(kind) else (kind,))]
    several = (
        isinstance(each, type) and issubclass(each, Iterable) and not issubclass(each, Mapping) for each in origins
    )
    return any(several)


def words(kind: Any) -> str:
    """What an annotation allows, in words."""
    if is_union(kind):
        return " or ".join(words(each) for each in get_args(kind))
    if kind == Unbounded:
        return "a number"
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, inside))
    if is_enum(kind):
        return "one of " + ", ".join(repr(each.value) for each in kind)
    if origin is not None and issubclass(origin, Mapping):
        return "a mapping such as {5: 1.5}"
    if origin is not None and issubclass(origin, Iterable):
        return "several: each " + words(inside[0])
    kind = origin or kind
    named = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text", type(None): "None"}
    return named.get(kind, f"a {kind.__name__}")


def is_union(kind: Any) -> bool:
    """Whether one of several kinds may stand there."""
    return get_origin(kind) in (Union, types.UnionType)


def is_enum(kind: Any) -> bool:
    """Whether members of an enumeration stand there."""
    return isinstance(kind, type) and issubclass(kind, Enum)
