"""Collects what the parts declare: the parts by name, and the catalogue's entries.

Nothing is listed here. A part is a class with a `name` in one of the part folders; an entry is the module's
`ENTRY` (or `ENTRIES`), standing beside the system's principal part.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

from .entry import Entry, Guarantee
from .errors import UnknownName, closest

FOLDERS = (  # where parts of methods and diagnostics stand
    "speculate.drafters",
    "speculate.acceptors",
    "speculate.planners",
    "route",
    "search",
    "diffuse",
    "diffuse.orders",
    "diffuse.blocks",
    "diffuse.refresh",
    "diffuse.stops",
    "diffuse.lookaheads",
    "diffuse.constraints",
    "diagnose",
)

PLAIN = Entry(
    name="plain",
    family="speculate",
    source="the reference: one token per forward",
    parts="plain",
    guarantee=Guarantee.EXACT,
    summary="autoregressive decoding with a cache",
)


@cache
def parts() -> dict[str, Any]:
    """Every part of every method by its name."""
    found: dict[str, Any] = {}
    for module in _modules():
        part: Any
        for _, part in inspect.getmembers(module, inspect.isclass):
            if part.__module__ == module.__name__ and "name" in vars(part):
                assert part.name not in found, f"two parts are named {part.name!r}"
                found[part.name] = part
    return found


@cache
def entries() -> dict[str, Entry]:
    """Every catalogue entry by its name."""
    found = {PLAIN.name: PLAIN}
    for module in _modules():
        declared = [module.ENTRY] if hasattr(module, "ENTRY") else getattr(module, "ENTRIES", ())
        for entry in declared:
            assert entry.name not in found, f"two entries are named {entry.name!r}"
            found[entry.name] = entry
    return found


def part(name: str) -> Any:
    """The part of that name. Raises UnknownName with the closest one."""
    if name not in parts():
        raise UnknownName(f"no part is named {name!r}", hint=closest(name, parts()))
    return parts()[name]


def _modules() -> Iterator[ModuleType]:
    for folder in FOLDERS:
        package = importlib.import_module(f"stretto.{folder}")
        for found in pkgutil.iter_modules(package.__path__):
            yield importlib.import_module(f"{package.__name__}.{found.name}")
