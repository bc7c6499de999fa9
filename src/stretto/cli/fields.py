"""Settings as their dataclass declares them, with the comment that stands beside each in the source."""

from __future__ import annotations

import dataclasses
import inspect
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

_COMMENTED = re.compile(r"^    (\w+): .*?  # (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of a dataclass of settings."""

    name: str
    annotation: str
    default: Any  # None also where there is none
    comment: str  # unit and range; empty where the source says nothing or is not at hand


def settings_of(owner: type) -> list[Setting]:
    """The fields of a dataclass, in order."""
    try:
        comments = dict(_COMMENTED.findall(inspect.getsource(owner)))
    except OSError:  # installed without source
        comments = {}
    return [
        Setting(field.name, str(field.type), _default(field), comments.get(field.name, ""))
        for field in dataclasses.fields(owner)
        if field.init
    ]


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    default = None if field.default is dataclasses.MISSING else field.default
    return plain(default)


def plain(value: Any) -> Any:
    """A setting's value as plain data."""
    if isinstance(value, frozenset):
        return tuple(sorted(value))
    if hasattr(type(value), "kind"):  # a part: its text
        from ..parts import describe_part

        return describe_part(value)
    return value.value if isinstance(value, Enum) else value
