"""Chat templates: what a checkpoint's Jinja text makes of messages, as transformers renders it, without its import.

A template is code of the checkpoint: it runs in a sandbox, and sees plain data only.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Template, nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

HERE = "HERE_THE_LAST_MESSAGE_ENDS "  # stands behind a message that is to be gone on with
THOUGHTS = ("reasoning_content", "thinking", "reasoning")  # what templates and people call what was thought


def render(
    source: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = False,
    continue_final_message: bool | str = False,
    **options: Any,
) -> str:
    """The text of messages: with the begin of an answer behind it, or broken off where the last message ends.

    `continue_final_message` may name the field of it that is to be gone on with. Raises what the template raises,
    TemplateError or ValueError.
    """
    if add_generation_prompt and continue_final_message:
        raise ValueError("an answer is begun, or the last message is gone on with, but not both")
    kept = [{key: each for key, each in _plain(message).items() if each is not None} for message in messages]
    chat = [*map(_named_thoughts, kept)]
    final = _mark(chat[-1], continue_final_message, source) if continue_final_message else ""
    told = {"tools": tools, "documents": documents, **options}
    text = _compiled(source).render(
        messages=chat, add_generation_prompt=add_generation_prompt, **{key: _plain(each) for key, each in told.items()}
    )
    return _broken_off(text, final) if continue_final_message else text


def _named_thoughts(message: dict[str, Any]) -> dict[str, Any]:
    """A message with what was thought under the names that templates know."""
    thought = next((message[name] for name in THOUGHTS if message.get(name) is not None), None)
    return message if thought is None else {"thinking": thought, **message, "reasoning_content": thought}


def _mark(message: dict[str, Any], wanted: bool | str, source: str) -> str:
    """Put HERE behind what is to be gone on with, which is returned."""
    name = wanted if isinstance(wanted, str) else "content"
    said = message.get(name)
    names = [each for each in THOUGHTS if message.get(each) == said] if name in THOUGHTS else [name]
    if said is None or not any(each in source for each in names):
        raise ValueError(f"the last message has no {name!r} that the template reads, so none to go on with")
    if isinstance(said, str):
        message.update(dict.fromkeys(names, said + HERE))
        return said
    part = next((part for part in reversed(said) if "text" in part), None)
    if part is None:
        raise ValueError("the last message has no text to go on with")
    final = str(part["text"])
    part["text"] = final + HERE
    return final


def _broken_off(text: str, final: str) -> str:
    """A rendered text up to HERE; white space that the template took from the end stays away."""
    at = text.rfind(HERE.strip())
    if at < 0 or final.strip() not in text:
        raise ValueError("the template changes the last message, so that it cannot be gone on with")
    return text[:at] if text[at : at + len(HERE)] == HERE else text[:at].rstrip()


def _plain(value: Any) -> Any:
    """The same as JSON would have it: objects of other kinds are named, since their methods are not for templates."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int | float):
        return (int.__int__ if isinstance(value, int) else float.__float__)(value)  # type: ignore[arg-type]
    if isinstance(value, Mapping):
        return {_plain(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value)) if type(value) in (list, tuple) else [*map(_plain, value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    for method in ("model_dump", "item"):  # of pydantic, of numpy
        if callable(found := getattr(value, method, None)) and not isinstance(value, type):
            return _plain(found())
    return f"<{type(value).__name__}>"


# -- the language -----------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def _compiled(source: str) -> Template:
    return _environment().from_string(source)


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    made.filters["tojson"] = _tojson
    made.globals |= {"raise_exception": _refuse, "strftime_now": _now, "dict": _Dict(), "namespace": _Namespace}
    return made


class _Generation(Extension):
    """`{% generation %}` tells trainers what the assistant wrote, and writes what is in it."""

    tags = {"generation"}  # noqa: RUF012  # as jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Dict:
    """`dict`, without the ways that lead from it into Python."""

    def __call__(self, *given: Any, **named: Any) -> dict[Any, Any]:
        return dict(*given, **named)

    fromkeys: Callable[..., dict[Any, Any]] = staticmethod(dict.fromkeys)


class _Namespace(Namespace):
    """`namespace`, whose names may not begin with an underscore."""

    def __init__(*given: Any, **named: Any) -> None:
        held = dict(*given[1:], **named)
        for name in held:
            _check(name)
        Namespace.__init__(given[0], held)

    def __setitem__(self, name: str, value: Any) -> None:
        _check(name)
        super().__setitem__(name, value)


def _check(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a template keeps nothing under a name such as {name!r}")


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """JSON with its letters as they are, where Jinja's own would escape what has a meaning in HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
