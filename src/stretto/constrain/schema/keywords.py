"""The keywords of JSON Schema, drafts 4 to 2020-12: what value each takes, and what is no keyword at all.

The standard lets unknown keywords pass as notes. Here a note passes whose name does not look like a keyword that means
something: one that is spelt almost like a keyword, or that asserts something in another dialect, is refused, since its
author expects it to hold. Names that begin with x-, _, $ or @, and everything farther from a keyword, are notes.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from ...errors import InvalidRequest, Unsupported

Kind = Callable[[Any], bool]


def _is_schema(value: Any) -> bool:
    return isinstance(value, dict | bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value >= 0 and value == int(value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_schema, value))


def _is_map(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_schema, value.values()))


def _is_type(value: Any) -> bool:
    return value in TYPES if isinstance(value, str) else _is_texts(value) and set(value) <= {*TYPES}


TYPES = ("null", "boolean", "object", "array", "string", "number", "integer")
SCHEMA: tuple[Kind, str] = (_is_schema, "a schema")
SCHEMAS: tuple[Kind, str] = (_is_schemas, "a list of schemas")
MAP: tuple[Kind, str] = (_is_map, "an object of schemas")
NUMBER: tuple[Kind, str] = (_is_number, "a number")
COUNT: tuple[Kind, str] = (_is_count, "a whole number from 0 on")
TEXT: tuple[Kind, str] = (lambda value: isinstance(value, str), "a text")
KINDS: dict[str, tuple[Kind, str]] = {
    **dict.fromkeys(("not", "if", "then", "else", "contains", "propertyNames", "additionalProperties"), SCHEMA),
    **dict.fromkeys(("unevaluatedItems", "unevaluatedProperties", "additionalItems"), SCHEMA),
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), SCHEMAS),
    **dict.fromkeys(("properties", "patternProperties", "dependentSchemas"), MAP),
    **dict.fromkeys(("minimum", "maximum"), NUMBER),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), COUNT),
    **dict.fromkeys(("minContains", "maxContains"), COUNT),
    **dict.fromkeys(("pattern", "format", "$ref", "$dynamicRef", "$anchor", "$dynamicAnchor", "$id"), TEXT),
    **dict.fromkeys(
        ("exclusiveMinimum", "exclusiveMaximum"), (lambda value: isinstance(value, bool | int | float), "")
    ),
    "multipleOf": (lambda value: _is_number(value) and value > 0, "a number above 0"),
    "uniqueItems": (lambda value: isinstance(value, bool), "true or false"),
    "required": (_is_texts, "a list of names"),
    "items": (lambda value: _is_schema(value) or value == [] or _is_schemas(value), "a schema or a list of schemas"),
    "type": (_is_type, "one or more of " + ", ".join(TYPES)),
    "enum": (lambda value: isinstance(value, list), "a list"),
    "const": (lambda value: True, ""),
    "dependencies": (
        lambda value: isinstance(value, dict) and all(_is_schema(v) or _is_texts(v) for v in value.values()),
        "an object of schemas and lists of names",
    ),
    "dependentRequired": (
        lambda value: isinstance(value, dict) and all(map(_is_texts, value.values())),
        "an object of lists of names",
    ),
}
SILENT = {"$schema", "$id", "id", "$anchor", "$dynamicAnchor", "$defs", "definitions", "$comment", "$vocabulary"}
NOTES = {"title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly"}
NOTES |= {"contentEncoding", "contentMediaType", "contentSchema", "discriminator", "$recursiveAnchor"}
FOREIGN = {  # keywords that assert something elsewhere, with what says it here
    "extends": "allOf",
    "disallow": "not",
    "divisibleBy": "multipleOf",
    "nullable": "type: [..., null]",
    "optional": "required",
    "requires": "dependentRequired",
    "formatMinimum": "pattern",
    "formatMaximum": "pattern",
    "formatExclusiveMinimum": "pattern",
    "formatExclusiveMaximum": "pattern",
    "instanceof": "type",
    "typeof": "type",
    "regexp": "pattern",
    "patternRequired": "required",
    "prohibited": "not",
    "switch": "if",
    "select": "oneOf",
    "uniqueItemProperties": "uniqueItems",
    "$merge": "allOf",
    "$patch": "allOf",
    "$data": "const",
}
ALIKE = 0.86  # of a note's name and a keyword's: "minLenght" is .89, "contents" and "contains" .75


def require_known(name: str, value: Any, pointer: str) -> None:
    """Raise InvalidRequest for a misspelt keyword or one with a wrong kind of value, Unsupported for a foreign one.

    The pointer is that of the keyword.
    """
    if name in KINDS:
        able, what = KINDS[name]
        if not able(value):
            raise InvalidRequest(f"{pointer} is not {what or 'a number'}", hint="see json-schema.org")
        return
    if name in FOREIGN:
        raise Unsupported(f"{pointer}: {name} is a keyword of another dialect", hint=f"say it with {FOREIGN[name]}")
    if name in SILENT or name in NOTES or name.startswith(("x-", "_", "$", "@")):
        return
    near = difflib.get_close_matches(name, KINDS, n=1, cutoff=ALIKE)
    if near and not difflib.get_close_matches(name, NOTES, n=1, cutoff=ALIKE):
        raise InvalidRequest(
            f"{pointer}: there is no keyword {name!r}", hint=f"did you mean {near[0]!r}? notes may begin with x-"
        )
