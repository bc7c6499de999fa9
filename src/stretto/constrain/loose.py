"""Where llguidance takes more than a JSON Schema allows: such schemas are refused, by the place of the keyword.

Found by running it, and held by tests. It lets through a whole exclusive bound itself where the other bound is less
than 1 away, escaped quotes and backslashes in negated classes of patterns, neighbours of numbers beyond 2**53, one key
twice where several are counted, and a key of the schema, written with an escape, as if it were another. So nothing is
escaped by its number (`ESCAPES`); it then drops control characters that have no other escape, where a text holds them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..errors import Unsupported

ESCAPES = 'bfnrt"\\'  # the letters that may stand behind a backslash
EXACT = 2**53  # whole numbers up to here are doubles
OPPOSITE = {
    "exclusiveMinimum": ("maximum", "exclusiveMaximum"),
    "exclusiveMaximum": ("minimum", "exclusiveMinimum"),
}
BOUNDS = ("minimum", "maximum", *OPPOSITE)
HOLDERS = ("properties", "patternProperties", "$defs", "definitions")  # of schemas by names that are no keywords
VALUES = ("const", "enum", "default", "examples")  # hold no schemas

CLASS = re.compile(r"\[(?:\\.|[^\]\\])*\]", re.DOTALL)
CONTROL = re.compile("[\x00-\x07\x0b\x0e-\x1f]")  # characters that only a number spells
SPELT = re.compile(r"\\(?:x[01]|u00[01]|u\{|c[A-Za-z]|[0aev])")  # the same, in a pattern


class Found(NamedTuple):
    """A keyword of a schema."""

    place: str  # its JSON pointer
    keyword: str
    value: Any


def require_exact(schema: Any) -> None:
    """Raise Unsupported, with a JSON pointer, where what is enforced would be less than the schema says."""
    found = list(_keywords(schema, "#"))
    bounds = [each for each in found if each.keyword in BOUNDS and _is_number(each.value)]
    for each in found:
        for what, hint in _loose(each, bounds):
            raise Unsupported(f"schema: {each.place} {what}, and cannot be held exactly", hint=hint)


def _loose(each: Found, bounds: list[Found]) -> Iterator[tuple[str, str]]:
    """What is wrong with a keyword, and how to mend it."""
    keyword, value = each.keyword, each.value
    if keyword in (*BOUNDS, "multipleOf", "const", "enum"):
        leaves = list(_leaves(value))
        if any(isinstance(leaf, int) and abs(leaf) > EXACT for leaf in leaves):
            yield "holds a whole number beyond 2**53, which would turn into a neighbour", "write it as a string"
        if any(isinstance(leaf, str) and CONTROL.search(leaf) for leaf in leaves):
            yield "holds a control character that only a number spells", "leave the character out"
    if keyword in OPPOSITE and _is_number(value) and value == int(value):
        others = (other.value for other in bounds if other.keyword in OPPOSITE[keyword])
        if any(0 < abs(other - value) < 1 for other in others):
            yield "is a whole number less than 1 from the other bound", "shift it a little"
    if keyword == "minProperties" and _is_number(value) and value > 1:
        yield "counts keys, of which one may be written twice", "name those that must come in required"
    patterns = [value] if keyword == "pattern" else value if keyword == "patternProperties" else ()
    for pattern in patterns if isinstance(patterns, list | Mapping) else ():
        yield from _loose_pattern(pattern) if isinstance(pattern, str) else ()


def _loose_pattern(pattern: str) -> Iterator[tuple[str, str]]:
    classes = CLASS.findall(pattern)
    if any(each.startswith("[^") and not _takes(each, '"\\') for each in classes):
        yield "has a negated class without quotes or backslashes", "name the characters that may stand"
    wide = [each for each in classes if each.startswith("[^") or _takes(each, "\n") or _takes(each, "a")]
    rest = pattern
    for each in wide:
        rest = rest.replace(each, "")
    if CONTROL.search(rest) or SPELT.search(rest):
        yield "asks for a control character that only a number spells", "leave the character out"


def _takes(characters: str, each: str) -> bool:
    """Whether a class takes all of these; not, where it cannot be told."""
    try:
        return all(re.fullmatch(characters, one) for one in each)
    except re.error:
        return False


def _keywords(schema: Any, place: str) -> Iterator[Found]:
    """Everything that may be a keyword, wherever it stands; names of properties are no keywords."""
    if isinstance(schema, list):
        for at, each in enumerate(schema):
            yield from _keywords(each, f"{place}/{at}")
    elif isinstance(schema, dict):
        for name, value in schema.items():
            inner = f"{place}/{_pointed(name)}"
            yield Found(inner, name, value)
            if name in HOLDERS and isinstance(value, dict):
                for key, each in value.items():
                    yield from _keywords(each, f"{inner}/{_pointed(key)}")
            elif name not in VALUES:
                yield from _keywords(value, inner)


def _pointed(name: str) -> str:
    """A name as JSON pointers have it."""
    return name.replace("~", "~0").replace("/", "~1")


def _leaves(value: Any) -> Iterator[Any]:
    """The numbers and texts in a value; names of properties as well."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for each in value:
            yield from _leaves(each)
    elif not isinstance(value, bool):
        yield value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= EXACT
