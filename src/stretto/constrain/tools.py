"""Calls of functions: what an answer must be where a model is to use one, and what it says when it did."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidRequest, closest
from ..values import shown
from .contract import Constraint
from .described import described
from .framed import Framed
from .given import text_of
from .json_schema import Schema

EXAMPLE = '{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {…}}}}'
DEFINED = ("$defs", "definitions")  # where a schema holds others by their names
ANY = "required"  # whichever function is called, one is


@dataclass(frozen=True, slots=True)
class Shape:
    """How calls are written."""

    before: str = ""
    behind: str = ""
    arguments: str = "arguments"  # the key beside "name"


PLAIN = Shape()
MARKED = Shape("<tool_call>\n", "\n</tool_call>")  # Hermes, Qwen 2.5 and 3, SmolLM3
PARAMETERS = Shape(arguments="parameters")  # Llama 3.1 and 3.2


def shape_of(template: str) -> Shape:
    """How a chat template asks for calls; plainly, where it does not say so in a form that is known here."""
    if "<tool_call>" in template and "<function=" not in template and "arguments" in template:
        return MARKED
    return PARAMETERS if re.search(r'"name": function name, "parameters"', template) else PLAIN


@dataclass(frozen=True, slots=True)
class Toolbox:
    """Functions one of which is to be called."""

    functions: Any  # what `functions` reads
    choice: str = ANY  # or the name of the one that must be called
    shape: Shape = PLAIN

    @classmethod
    def of(cls, tools: Any, choice: str, template: str) -> Toolbox:
        """Functions that are called as a chat template asks for it."""
        return cls(tools, choice, shape_of(template))

    def constraint(self) -> Constraint:
        """The answer is a call: one function by its name, its arguments by its schema. Raises InvalidRequest."""
        known = {each["name"]: each["parameters"] for each in functions(self.functions)}
        if self.choice != ANY and self.choice not in known:
            raise InvalidRequest(f"there is no function {self.choice!r}", hint=closest(self.choice, [ANY, *known]))
        chosen = known if self.choice == ANY else {self.choice: known[self.choice]}
        definitions: dict[str, Any] = {}
        calls = [self._call(name, schema, definitions) for name, schema in chosen.items()]
        whole = Schema(json.dumps({**(calls[0] if len(calls) == 1 else {"anyOf": calls}), "$defs": definitions}))
        shape = self.shape
        return Framed(whole, shape.before, shape.behind) if shape.before or shape.behind else whole

    def _call(self, name: str, schema: Mapping[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
        """The schema of a call. What the function's own schema defines moves to `definitions`, under its name."""
        here = f"{name}/"
        for key in DEFINED:
            for inner, value in schema.get(key, {}).items():
                definitions[here + inner] = _moved(value, here)
        arguments = _moved({key: each for key, each in schema.items() if key not in DEFINED}, here)
        properties = {"name": {"const": name}, self.shape.arguments: arguments}
        required = ["name", self.shape.arguments]
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def required(given: Any) -> Constraint:
    """The constraint that asks for a call of one of these functions, or of those of a toolbox."""
    return (given if isinstance(given, Toolbox) else Toolbox(given)).constraint()


def functions(given: Any) -> list[dict[str, Any]]:
    """Name, description and parameters of each function. Raises InvalidRequest where they cannot be read.

    Each is a Python function with annotations, an object as OpenAI has them, or the inner one of such. A text is JSON
    of a list of these, or a file that holds it.
    """
    if isinstance(given, str | Path):
        try:
            given = json.loads(text_of(str(given), "tools"))
        except ValueError as error:
            raise InvalidRequest(f"the tools are no JSON: {error}", hint=f"[{EXAMPLE}]") from error
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise InvalidRequest(f"tools are a list of functions, not {shown(given)}", hint=f"[{EXAMPLE}]")
    found = [_of_callable(each) if callable(each) else _of_object(each) for each in given]
    names = [each["name"] for each in found]
    if not names:
        raise InvalidRequest("there is no tool", hint="give one function or more")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidRequest(f"two tools are named {twice!r}", hint="give each a name of its own")
    return found


def told(function: Callable[..., Any]) -> Any:
    """A function as chat templates want it, with what its docstring says of its arguments, if it does."""
    from transformers.utils import DocstringParsingException, get_json_schema

    try:
        return get_json_schema(function)
    except DocstringParsingException:
        return objects([function])[0]


def objects(given: Any) -> list[dict[str, Any]]:
    """The functions as chat templates want them."""
    return [{"type": "function", "function": each} for each in functions(given)]


def _of_object(given: Any) -> dict[str, Any]:
    inner = given.get("function", given) if isinstance(given, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise InvalidRequest(f"{shown(given)} is no function", hint=EXAMPLE)
    parameters = inner.get("parameters", {"type": "object", "properties": {}, "additionalProperties": False})
    if not isinstance(parameters, dict) or not all(isinstance(parameters.get(key, {}), dict) for key in DEFINED):
        raise InvalidRequest(f"the parameters of {inner['name']!r} are no schema", hint=EXAMPLE)
    return {"name": inner["name"], "description": inner.get("description", ""), "parameters": parameters}


def _of_callable(function: Callable[..., Any]) -> dict[str, Any]:
    """What annotations say of a function; a parameter without one takes anything."""
    name = getattr(function, "__name__", type(function).__name__)
    if not name.isidentifier():
        raise InvalidRequest(f"{shown(function)} has no name to call it by", hint="define it with def")
    properties: dict[str, Any] = {}
    definitions: dict[str, Any] = {}
    needed: list[str] = []
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise InvalidRequest(f"{name}: the parameter {parameter} has no name to call it by", hint="name them all")
        kind = Any if parameter.annotation is parameter.empty else parameter.annotation
        schema = described(kind)
        definitions |= schema.pop("$defs", {})
        properties[parameter.name] = schema
        if parameter.default is parameter.empty:
            needed.append(parameter.name)
    parameters = {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}
    said = (inspect.getdoc(function) or "").split("\n\n")[0]
    return {"name": name, "description": said, "parameters": {**parameters, "$defs": definitions}}


def _moved(schema: Any, place: str) -> Any:
    """The schema with its references to definitions under their new names."""
    if isinstance(schema, list):
        return [_moved(each, place) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: value if key in ("const", "enum") else _moved(value, place) for key, value in schema.items()}
    if isinstance(reference := schema.get("$ref"), str):
        pattern = r"^#/(?:\$defs|definitions)/"
        found["$ref"] = re.sub(pattern, "#/$defs/" + place.replace("/", "~1"), reference)
    return found
