"""The ways in which callers name a constraint: a schema, a regular expression, a grammar, texts to choose from."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InvalidRequest
from ..values import shown
from .after import After
from .choices import Choices
from .close import Close
from .contract import Constraint
from .described import described
from .given import text_of
from .grammar_files import Gbnf, Lark
from .json_schema import Schema
from .regex import Regex
from .sentence import Sentence
from .tools import required

GBNF_RULE = re.compile(r"^\s*[\w-]+\s*::=", re.MULTILINE)
OWN_RULE = re.compile(r"^\s*\S+\s*->", re.MULTILINE)
OBJECT = '{"type": "object"}'


def constrained(
    settings: Mapping[str, Any], read: Callable[[str], Constraint], usual: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings with a constraint instead of one of the forms that stand for one; `read` reads it from its text.

    `usual` holds what is meant by settings that are not given. Raises InvalidRequest where two forms are given, or one
    cannot be read.
    """
    rest = {name: value for name, value in settings.items() if name not in (*FORMS, *WRAPPERS)}
    wanted = {name: value for name, value in settings.items() if value is not None and value is not False}
    given = [name for name in (*FORMS, "constraint") if name in wanted]
    if len(given) > 1:
        raise InvalidRequest(f"{given[0]} and {given[1]} are both given", hint="an answer obeys one of them: give one")
    if given and given[0] in FORMS:
        rest["constraint"] = FORMS[given[0]](wanted[given[0]])
    if (wrapper := next((name for name in WRAPPERS if name in wanted), None)) is None:
        return rest
    if not given:
        raise InvalidRequest(f"{wrapper}= is of a constraint, and none is given", hint="give a schema, regex or such")
    inner = rest["constraint"]
    made = read(inner) if isinstance(inner, str) else inner
    if AFTER in wanted:
        made = After(made, wanted[AFTER])
    if CLOSE in wanted:
        if wanted[CLOSE] is not True:
            raise InvalidRequest(f"close is {shown(wanted[CLOSE])}", hint="True or False")
        made = Close(made, settings.get("max_new_tokens", usual["max_new_tokens"]))
    return {**rest, "constraint": made}


def schema(given: Any, *, spaces: bool = False) -> Schema:
    """A JSON Schema of what stands for one: the schema itself, its text, a file, or a type that pydantic describes.

    Raises InvalidRequest for anything else.
    """
    if isinstance(given, Path):
        given = str(given)
    if isinstance(given, dict | bool):
        try:
            given = json.dumps(given)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidRequest(f"the schema is no JSON: {error}", hint="see json-schema.org") from error
    if isinstance(given, str):
        return Schema(given, spaces)
    return Schema(json.dumps(described(given)), spaces)


def grammar(given: str | Path) -> Constraint:
    """A grammar in whichever form it is written: GBNF, Lark, or rules of ours. Raises InvalidRequest."""
    if not isinstance(given, str | Path):
        raise InvalidRequest("a grammar is text, or a file", hint='such as \'start: "yes" | "no"\'')
    text = text_of(str(given), "grammar")
    if GBNF_RULE.search(text):
        return Gbnf(str(given))
    return Sentence(str(given)) if OWN_RULE.search(text) else Lark(str(given))


def _json_object(given: Any) -> Constraint:
    if given is not True:
        raise InvalidRequest(f"json_object is {shown(given)}", hint="True or False; a schema has a setting of its own")
    return Schema(OBJECT)


def _choices(given: Any) -> Constraint:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InvalidRequest(f"choices are several texts, not {shown(given)}", hint="choices=['yes', 'no']")
    return Choices(tuple(given))


FORMS: dict[str, Callable[[Any], Constraint]] = {
    "schema": schema,
    "json_object": _json_object,
    "regex": Regex,
    "grammar": grammar,
    "choices": _choices,
    "tools": required,
}
AFTER, CLOSE = WRAPPERS = ("after", "close")
