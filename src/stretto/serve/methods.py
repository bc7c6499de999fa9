"""Which methods a request may name: what it writes may not name a file, a model or a pattern of its own."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args, get_origin

from ..annotations import is_enum, is_several, is_text, is_union, kinds_beside
from ..parts import SETTING, TOKENS, kind_of, named, pieces_of, split
from ..values import settings_of
from .errors import Refused

PLAIN = re.compile(r"[+-]?[\d.]+(e[+-]?\d+)?|true|false|\([\d\s,.+-]*\)", re.IGNORECASE)


def require_nameless(text: str, param: str) -> None:
    """Raise Refused where a method or a steer has settings that are texts: only who starts the server names these.

    Numbers, truth values, parts and the few words that a setting offers may stand.

    >>> require_nameless("fuse(lookup(5),recycle)+min_p(0.1)", "method")
    """
    if '"' in text:
        raise _refused("a text in quotes", param)
    for piece in pieces_of(text):
        _check(piece, param)


def _check(piece: str, param: str) -> None:
    part = named(piece)
    if part is None:
        return  # a system by its name, whose parts the catalogue knows, or none: reading it says so
    kinds = settings_of(part)
    first = next(iter(kinds.values()), None)
    places = [] if is_several(first) else list(kinds.values())
    inside = piece.partition("(")[2].rpartition(")")[0]
    for place, setting in enumerate(split(inside, ",")):
        assigned = SETTING.fullmatch(setting)
        kind = kinds.get(assigned[1]) if assigned else places[place] if place < len(places) else first
        _check_value(assigned[2].strip() if assigned else setting, kind, param)


def _check_value(value: str, kind: Any, param: str) -> None:
    part = kind_of(value) in kinds_beside(kind)
    texts = str in _kinds(kind) and not part  # whatever stands there is a text, numbers and names of parts as well
    if (TOKENS if texts else PLAIN).fullmatch(value) or value in _words(kind):
        return
    if texts or (is_text(kind) and not part) or named(value) is None:
        raise _refused(repr(value), param)
    _check(value, param)


def _kinds(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if is_union(kind) else (kind,)


def _words(kind: Any) -> set[str]:
    """The few words that a setting offers."""
    found: set[str] = set()
    for each in _kinds(kind):
        if get_origin(each) is Literal:
            found |= set(map(str, get_args(each)))
        elif is_enum(each):
            found |= {str(member.value) for member in each}
    return found


def _refused(what: str, param: str) -> Refused:
    return Refused(
        400,
        f"{param} names {what}, which no request may",
        "who starts the server lists it: --allow-method",
        param=param,
    )
