"""`stretto methods NAME`: all there is to say of one system of the catalogue, one part, or a method put together."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..entry import Guarantee
from ..errors import UnknownName, closest
from .fields import plain, settings_of

if TYPE_CHECKING:
    from ..entry import Entry
    from ..family import Family

WIDTH = 100
OUTPUT = {  # what a guarantee means, by its value
    "exact": "the tokens of plain decoding, greedy and with a seed (in bfloat16 or int8 up to rounding)",
    "exact of its definition": "the tokens of plain decoding under it, greedy and with a seed, whoever drafts",
    "exact in distribution": "greedy the tokens of plain decoding, else others drawn from the same distribution",
    "approximate": "may differ from plain decoding; an extreme setting of its parts gives that",
    "none": "other than plain decoding's, as the method defines it",
}
ASIDE = {  # what systems are for that stand beside the parts of any method
    "steer": "every method: reshapes what the next token is chosen from",
    "constraint": "every method: keeps the answer in a language",
    "memory": "every method: the form in which an engine keeps what was read",
    "pace": "every method: how much of prompts is read beside answers on their way",
    "coding": "bytes: writes them by what a model expects, and decodes no answer",
}


def page(name: str) -> str:
    """The page of a name. Raises UnknownName with the closest one."""
    from .. import catalogue, method
    from ..family import family_of

    if name in catalogue.entries():
        lines = [*_entry(catalogue.entries()[name]), *_made_of(catalogue.entries()[name].parts)]
        if name in catalogue.parts():  # a part of the same name
            lines += ["", *_part(catalogue.parts()[name])]
        return "\n".join(lines)
    if name in catalogue.parts():
        return "\n".join(_part(catalogue.parts()[name]))
    if not re.search(r"[+(]", name):
        known = [*catalogue.entries(), *catalogue.parts()]
        raise UnknownName(
            f"no method or part is named {name!r}", hint=closest(name, known, "`stretto methods` lists them")
        )
    whole = method.describe(method.parse(name))
    return "\n".join([*_made_of(whole), "", f"try: {_command(whole, family_of(type(method.parse(whole))))}"])


def summary(part: type) -> str:
    """What a part is, in one line: its file says it where the file holds no other part, else its class does."""
    from .. import catalogue

    alone = sum(other.__module__ == part.__module__ for other in catalogue.parts().values()) == 1
    words = (alone and sys.modules[part.__module__].__doc__) or part.__doc__
    first: str = inspect.cleandoc(words or "").partition("\n")[0]
    return first


def _entry(entry: Entry) -> Iterator[str]:
    """The entry itself: what, whose, for whom, how good, and how to call it."""
    from ..family import families

    number = "" if entry.number is None else f" (number {entry.number} of the catalogue)"
    yield f"{entry.name}{number}"
    yield from _wrapped(entry.summary, "  ")
    yield ""
    family = next((family for family in families() if family.name == entry.family), None)
    facts = {
        "source": entry.source + ("" if entry.confirmed else "; details are left open there"),
        "for": ASIDE.get(entry.family, "measures; decodes nothing") if family is None else family.about,
        "output": f"{entry.guarantee.value}: {_meaning(entry, family)}",
        "needs": ", ".join(entry.needs) or "nothing else",
        "try": entry.command or _command(entry.name, family),
    }
    for name, text in facts.items():
        first, *rest = _wrapped(text, " " * 10)
        yield f"{name:8}  {first.strip()}"
        yield from rest


def _meaning(entry: Entry, family: Family[Any] | None) -> str:
    own = family is not None and entry.guarantee is Guarantee.APPROXIMATE and family.approximate
    return own or OUTPUT[entry.guarantee.value]


def _command(name: str, family: Family[Any] | None) -> str:
    model = "" if family is None or family.model == "zoo/causal" else f"--model {family.model} "
    quoted = f"'{name}'" if re.search(r"[^\w-]", name) else name
    return f'stretto generate {model}--method {quoted} "…"'


def _made_of(parts: str) -> Iterator[str]:
    """The parts of a method, with the settings that they have in it."""
    if not parts:
        return
    yield ""
    yield f"made of   {parts}"
    for part in _parts_of(parts):
        yield f"  {part.kind:10} {part.name:18} {summary(type(part))}"
        for each in settings_of(type(part)):
            value = plain(getattr(part, each.name))
            if value != each.default:
                yield f"  {'':10} {'':18}   {each.name} = {_shown(value)}  ({each.comment})"


def _parts_of(text: str) -> Iterator[Any]:
    """The parts that a text names: a method's, or a store."""
    from .. import method
    from ..parts import kind_of, read_part

    if kind_of(text) == "store":
        yield read_part(text)
    else:
        yield from held(method.parse(text))


def held(chosen: Any) -> Iterator[Any]:
    """The parts of a method, those that parts hold behind them."""
    for each in dataclasses.fields(chosen):
        value = getattr(chosen, each.name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(getattr(part, "kind", None), str):
                yield part
                yield from held(part)


def _part(part: Any) -> Iterator[str]:
    """One part: what it does, its settings, and the systems that are made of it."""
    from .. import catalogue

    words = inspect.cleandoc(part.__doc__ or "")
    yield f"{part.name} ({part.kind})"
    for paragraph in dict.fromkeys([summary(part), *words.split("\n\n")]):
        yield from _wrapped(" ".join(paragraph.split()), "  ")
    settings = settings_of(part)
    if settings:
        yield ""
        yield "settings, in this order:"
    for each in settings:
        yield f"  {each.name} = {_shown(each.default)}".ljust(30) + f" {each.comment}".rstrip()
    users = [
        entry.name
        for entry in catalogue.entries().values()
        if entry.parts and any(type(held) is part for held in _parts_of(entry.parts))
    ]
    if users:
        yield ""
        yield from _wrapped("used by " + ", ".join(sorted(users)), "", "  ")


def _shown(value: Any) -> str:
    """A setting as the text form of a method writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(map(_shown, value)) or "none"
    return str(getattr(value, "name", value)) or "none"


def _wrapped(text: str, first: str, rest: str | None = None) -> list[str]:
    found = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=first if rest is None else rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return found or [""]
