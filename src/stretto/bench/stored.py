"""Stored results: one JSON form for every kind, written whole, and checked when it is read."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, Self, cast, get_args, get_origin, get_type_hints

from ..errors import InvalidRequest
from ..files import write_text

INNERMOST = re.compile(r"([\[{])\n\s*([^\[\]{}]*?)\n\s*([\]}])")  # of indented JSON; within a string no line ends


@dataclass(slots=True)
class Stored:
    """What one run of the benchmark found: dataclasses of numbers, texts, lists and dicts below a provenance.

    A kind says which command writes it and by which entry its files are known; `load` reads all fields by their types.
    """

    COMMAND: ClassVar[str]
    ENTRY: ClassVar[str]  # no other kind's files have it

    provenance: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write as JSON; what holds nothing nested stands in a line."""
        text = json.dumps(self.record(), indent=1, ensure_ascii=False)
        write_text(path, INNERMOST.sub(_in_a_line, text) + "\n")

    def record(self) -> dict[str, Any]:
        """What is written."""
        return asdict(self)

    @classmethod
    def is_in(cls, path: Path) -> bool:
        """Whether a JSON file looks like this kind. Raises OSError where it can't be read."""
        try:
            return cls.ENTRY in json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, TypeError):
            return False

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote, now or in an earlier version. Raises InvalidRequest where it is something else."""
        try:
            record = _held(dict, json.loads(path.read_text(encoding="utf-8")), "the file")
            current = cls.current(record)
            if cls.ENTRY not in record | current:
                raise KeyError(cls.ENTRY)
            found: Self = typed(cls, current, "the file")
        except (ValueError, KeyError, TypeError) as error:
            hint = f"name the JSON file that `{cls.COMMAND} --out` wrote"
            raise InvalidRequest(f"{path} holds no result of `{cls.COMMAND}`: {error!r}", hint=hint) from error
        return found

    @classmethod
    def current(cls, record: dict[str, Any]) -> dict[str, Any]:
        """A record of an earlier version in the form of this one. Raises KeyError or TypeError where it can't be."""
        return record


def typed(kind: Any, value: Any, where: str) -> Any:
    """A value from JSON as its annotated type: a dataclass, a list, a dict, a union with None, or what JSON has.

    Raises TypeError, naming the place, where it is something else or a dataclass lacks a field.
    """
    if kind is Any:
        return value
    base, inner = get_origin(kind) or kind, get_args(kind)
    if base is UnionType:
        return None if value is None else typed(next(each for each in inner if each is not NoneType), value, where)
    if is_dataclass(base):
        fields = _fields(cast(type, base))
        known = {name: typed(fields.get(name, Any), each, name) for name, each in _held(dict, value, where).items()}
        return kind(**known)
    if base is list:
        return [typed(inner[0], each, where) for each in _held(list, value, where)]
    if base is dict:
        return {name: typed(inner[1], each, name) for name, each in _held(dict, value, where).items()}
    return _held((int, float) if kind is float else kind, value, where)


@cache
def _fields(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _held(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{where} is {value!r:.40}")
    return value


def _in_a_line(found: re.Match[str]) -> str:
    return found[1] + re.sub(r"\n\s*", " ", found[2]) + found[3]
