"""The OpenAPI document of the server, made of the table of its fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from .. import __version__
from ..annotations import is_union
from ..request import Request
from .fields import IGNORED_OF, LENGTHS, MOST_LOGPROBS, ONLY_OF, PATHS, PROMPT, SAME, known

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TRUTH: Schema = {"type": "boolean"}
WHOLE: Schema = {"type": "integer"}
OBJECT: Schema = {"type": "object"}
TEXTS: Schema = {"type": "array", "items": TEXT}
TOKENS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
OBJECTS: Schema = {"type": "array", "items": OBJECT}
PLAIN: dict[Any, Schema] = {int: WHOLE, float: {"type": "number"}, str: TEXT, bool: TRUTH}

KINDS: dict[str, Schema] = {  # of fields that are no settings of `Request`
    "model": TEXT,
    "n": {"type": "integer", "minimum": 1},
    "stream": TRUTH,
    "stream_options": {
        "type": "object",
        "properties": {"include_usage": TRUTH, "include_obfuscation": {"const": False}},
        "additionalProperties": False,
    },
    "method": TEXT,
    "trace": TRUTH,
    "echo": TRUTH,
    "regex": TEXT,
    "choices": {**TEXTS, "minItems": 1},
    "grammar": TEXT,
    "after": TEXT,
    "close": TEXT,
    "steers": TEXTS,
    "messages": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Message"}},
    "prompt": {
        "anyOf": [TEXT, {**TEXTS, "minItems": 1}, TOKENS, {"type": "array", "items": TOKENS, "minItems": 1}],
    },
    "input": {"anyOf": [TEXT, {**OBJECTS, "minItems": 1}]},
    "instructions": TEXT,
    "text": {"type": "object", "properties": {"format": OBJECT}},
    "include": {"type": "array", "items": {"const": "message.output_text.logprobs"}, "maxItems": 1},
    "logprobs": TRUTH,
    "top_logprobs": {"type": "integer", "minimum": 0, "maximum": MOST_LOGPROBS},
    "response_format": {"type": "object", "required": ["type"]},
    "tools": {"type": "array", "items": {"type": "object", "required": ["type"]}},
    "tool_choice": {"anyOf": [{"enum": ["auto", "none", "required"]}, OBJECT]},
    "parallel_tool_calls": TRUTH,
    "chat_template_kwargs": OBJECT,
}
OF_COMPLETIONS: dict[str, Schema] = {"logprobs": {"type": "integer", "minimum": 0, "maximum": MOST_LOGPROBS}}
MESSAGE: Schema = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": TEXT,
        "content": {"anyOf": [TEXT, OBJECTS, {"type": "null"}]},
        "tool_calls": OBJECTS,
        "tool_call_id": TEXT,
    },
}
ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {"message": TEXT, "type": TEXT}
            | {name: {"type": ["string", "null"]} for name in ("param", "code")},
        }
    },
}
GETS = {"/v1/models": "application/json", "/health": "application/json", "/metrics": "text/plain"}
WRONG = {400: "what is asked is wrong", 401: "no key", 403: "another host", 404: "another model", 408: "too slow"}
WRONG |= {413: "too long", 415: "no JSON", 429: "too many wait", 500: "a fault", 503: "no memory, or it stops"}


def document() -> dict[str, Any]:
    """The whole of it."""
    paths: dict[str, Any] = {path: {"post": _post(endpoint)} for path, endpoint in PATHS.items()}
    paths["/v1/tokenize"] = {"post": _asking({"anyOf": [_body("chat"), _body("completions")]}, [])}
    paths |= {path: {"get": {"responses": _answers([kind])}} for path, kind in GETS.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "stretto", "version": __version__, "description": "See docs/serve.md."},
        "paths": paths,
        "components": {
            "schemas": {"Message": MESSAGE, "Error": ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _post(endpoint: str) -> dict[str, Any]:
    return _asking(_body(endpoint), ["text/event-stream"])


def _asking(body: Schema, streams: Iterable[str]) -> dict[str, Any]:
    content = {"application/json": {"schema": body}}
    return {
        "requestBody": {"required": True, "content": content},
        "responses": _answers(["application/json", *streams]),
    }


def _answers(kinds: Iterable[str]) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    good = {kind: {"schema": {"application/json": OBJECT, "text/plain": TEXT}.get(kind, {})} for kind in kinds}
    told = {str(status): {"description": words, "content": error} for status, words in WRONG.items()}
    return {"200": {"description": "the answer", "content": good}, **told}


def _body(endpoint: str) -> Schema:
    fields = {name: _field(name, endpoint) for name in known(endpoint)}
    needed = [PROMPT[endpoint]]
    return {"type": "object", "properties": fields, "required": needed, "additionalProperties": False}


def _field(name: str, endpoint: str) -> Schema:
    """A field, which may be null as well: that is the same as to leave it out."""
    if name in ONLY_OF[endpoint]:
        values, mend = ONLY_OF[endpoint][name]
        return {"enum": [*values, None], "description": f"else refused: {mend}"}
    if name in IGNORED_OF[endpoint]:
        return {"description": f"ignored: {IGNORED_OF[endpoint][name]}"}
    kinds: Mapping[str, Schema] = KINDS | OF_COMPLETIONS if endpoint == "completions" else KINDS
    if name not in kinds:
        setting = "max_new_tokens" if name in LENGTHS[endpoint] else SAME.get(name, name)
        return {"anyOf": [_kind(get_type_hints(Request)[setting]), {"type": "null"}]}
    if name == PROMPT[endpoint]:
        return kinds[name]
    return {"anyOf": [kinds[name], {"type": "null"}]}


def _kind(annotation: Any) -> Schema:
    """What JSON writes for a value of a kind."""
    if annotation in PLAIN:
        return PLAIN[annotation]
    if is_union(annotation):
        kinds = [each for each in get_args(annotation) if each is not NoneType]
        return _kind(kinds[0]) if len(kinds) == 1 else {"anyOf": list(map(_kind, kinds))}
    if isinstance(get_origin(annotation), type) and issubclass(get_origin(annotation), Mapping):
        return {"type": "object", "additionalProperties": _kind(get_args(annotation)[1])}
    return {"type": "array", "items": _kind(get_args(annotation)[0])}
