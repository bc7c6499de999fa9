"""The text form of a part: `name(value, key=value)`, read and written.

lookup                          a part with its defaults
fixed(8, depth=3)               settings in order, or by name
fuse(lookup(5),draft(first(2))) parts that hold parts, also where a text might stand
ban(3,17)                       several values, where the first setting takes several
repetition(1.2,exempt=(2,3))    and in parentheses, where another one does
regex("a+(b|c)")                text in quotes, whatever it holds; "" in it is one quote
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import fields
from enum import Enum
from itertools import accumulate
from typing import Any

from . import catalogue
from .annotations import is_several, is_text, kinds_beside
from .errors import InvalidRequest, UnknownName, closest
from .values import settings_of, shown

DEEPEST = 32  # parentheses in parentheses
SETTING = re.compile(r"\s*([A-Za-z_]\w*)\s*=(.*)", re.DOTALL)
TOKENS = re.compile(r"\([\d\s,]*\)")  # where several token ids may stand as well as a text
_QUOTED = re.compile(r'"((?:[^"]|"")*)"', re.DOTALL)
_BARE = re.compile(r"[\w./:~@-]+")  # text that needs no quotes
_PART = re.compile(r"\s*([A-Za-z][\w-]*)\s*(?:\((.*)\))?\s*", re.DOTALL)


def pieces_of(text: str) -> list[str]:
    """What stands between the plus signs of a method. Raises InvalidRequest where parentheses stand too deep."""
    bare = _QUOTED.sub("", text)
    deepest = max(accumulate((character == "(") - (character == ")") for character in bare), default=0)
    if deepest > DEEPEST:
        raise InvalidRequest("the parts of the method stand too deep in each other", hint=f"at most {DEEPEST} deep")
    return split(text, "+")


def named(piece: str) -> type | None:
    """The part that a piece names, whatever its settings; None where it names none."""
    match = _PART.fullmatch(piece)
    return catalogue.parts().get(match[1]) if match else None


def kind_of(piece: str) -> str:
    """The kind of the part that a piece names; empty where it names none."""
    return getattr(named(piece), "kind", "")


def read_part(piece: str) -> Any:
    """One part with its settings. Raises UnknownName, or InvalidRequest for settings that it does not take."""
    match = _PART.fullmatch(piece)
    if not match:
        raise InvalidRequest(f"cannot read {piece!r} in the method", hint="write parts as name or name(key=value)")
    name, inside = match[1], match[2] or ""
    if name == "plain":
        raise InvalidRequest("'plain' has no settings", hint="write plain alone: it drafts nothing")
    if name not in catalogue.parts():
        known = [*catalogue.parts(), *catalogue.entries()]
        hint = closest(name, known, "`stretto methods` lists them")
        raise UnknownName(f"no method or part is named {shown(name)}", hint=hint)
    part = catalogue.part(name)
    kinds = settings_of(part)
    several = is_several(next(iter(kinds.values()), None))  # the first one takes all without a name
    words = [] if several else list(kinds.values())
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for setting in split(inside, ","):
        assigned = SETTING.fullmatch(setting)
        if not assigned:
            place = len(positional)
            positional.append(_read(setting, words[place] if place < len(words) else None))
        elif assigned[1] in named:
            raise InvalidRequest(f"setting {assigned[1]!r} of {name!r} is given twice", hint="give it once")
        else:
            named[assigned[1]] = _read(assigned[2].strip(), kinds.get(assigned[1]))
    if positional and several:
        positional = [tuple(positional)]
    return part(*positional, **named)  # which checks them


def describe_part(part: Any) -> str:
    """The text form that gives one part again, defaults left out."""
    settings = [field for field in fields(part) if field.init]
    changed = []
    for field in settings:
        value = getattr(part, field.name)
        if value != field.default:
            many = field is settings[0] and isinstance(value, tuple | frozenset)  # stands first, without its name
            shown = _described(value)
            changed.append(shown.removeprefix("(").removesuffix(")") if many else f"{field.name}={shown}")
    return f"{part.name}({','.join(changed)})" if changed else str(part.name)


def _described(value: Any) -> str:
    if isinstance(value, tuple | frozenset):
        return f"({','.join(map(_described, sorted(value) if isinstance(value, frozenset) else value))})"
    if isinstance(value, Enum):
        return str(value.value)
    if hasattr(type(value), "kind"):
        return describe_part(value)
    text = str(value)
    bare = not isinstance(value, str) or (_BARE.fullmatch(text) is not None and _value(text) == text)
    return text if bare else '"' + text.replace('"', '""') + '"'


def _read(text: str, kind: Any) -> Any:
    """A setting of that kind: a name or one of a few words is the text itself, never a part of a kind it may not be."""
    bare = is_text(kind) and not _QUOTED.fullmatch(text) and kind_of(text) not in kinds_beside(kind)
    if bare and kinds_beside(kind) and text.endswith(")") and _PART.fullmatch(text):
        return read_part(text)  # misspelt, or of another kind; a folder of such a name is ./NAME
    return text if bare and not (is_several(kind) and TOKENS.fullmatch(text)) else _value(text)


def _value(text: str) -> Any:
    """A number, a truth value, several values, a part that a part holds, or the text itself (a model's name, say)."""
    text = text.strip()
    if quoted := _QUOTED.fullmatch(text):
        return quoted[1].replace('""', '"')
    if text.startswith("(") and text.endswith(")"):
        return tuple(_value(each) for each in split(text[1:-1], ","))
    if (match := _PART.fullmatch(text)) and match[1] in catalogue.parts():
        return read_part(text)
    for convert in (int, float):
        with suppress(ValueError):
            return convert(text)
    return {"true": True, "false": False}.get(text.lower(), text)


def split(text: str, separator: str) -> list[str]:
    """Pieces between separators that stand outside of parentheses."""
    pieces, depth, piece, quoted = [], 0, "", False
    for character in text:
        quoted ^= character == '"'
        depth += 0 if quoted else (character == "(") - (character == ")")
        if character == separator and depth == 0 and not quoted:
            pieces.append(piece.strip())
            piece = ""
        else:
            piece += character
    pieces.append(piece.strip())
    return [piece for piece in pieces if piece]
