"""`stretto methods`: what ways of decoding there are, and what they are made of."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from ..errors import InvalidRequest, StrettoError, UnknownName, closest
from .explain import held, page, summary
from .fields import settings_of
from .paint import on_terminal

if TYPE_CHECKING:
    from ..diagnose.support import Ask
    from ..diagnose.taxonomy import Flags
    from ..entry import Entry
    from ..method import Method
    from ..models.contract import Ability, Model

COLUMNS = ("name", "number", "family", "guarantee", "summary", "parts", "needs")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("name", nargs="?", metavar="NAME", help="all about one method or part; about 'a+b', its parts")
    group.add_argument("--family", metavar="F", help="only this family")
    group.add_argument("--parts", action="store_true", help="drafters, acceptors and so on, with their settings")
    group.add_argument("--taxonomy", action="store_true", help="the map of the methods, as a page in Markdown")
    group.add_argument("--support", action="store_true", help="what each method does with each request, as a page")
    parser.add_argument("--json", action="store_true", help="a list of objects")


def run(given: argparse.Namespace) -> int:
    """Print the catalogue, the parts, or one of the pages."""
    if given.name is not None and given.json:
        raise InvalidRequest("--json lists methods or parts", hint="leave out the name, or --json")
    if given.name is not None:
        print(page(given.name))
        return 0
    if given.taxonomy or given.support:
        print(taxonomy() if given.taxonomy else support(), end="")
        return 0
    records = parts() if given.parts else [record(entry) for entry in _entries(given.family)]
    if given.json:
        print(json.dumps(records, indent=1, ensure_ascii=False))
    elif given.parts:
        _print_parts(records)
    else:
        _print_table(records)
        if on_terminal():
            print("\nstretto methods NAME tells more of one")
    return 0


def record(entry: Entry) -> dict[str, Any]:
    """A catalogue entry as plain data."""
    return {
        "name": entry.name,
        "number": entry.number,
        "family": entry.family,
        "parts": entry.parts,
        "command": entry.command,
        "guarantee": entry.guarantee.value,
        "needs": list(entry.needs),
        "source": entry.source,
        "summary": entry.summary,
    }


def parts() -> list[dict[str, Any]]:
    """Every part as plain data: kind, name, summary, settings; drafters first."""
    from .. import catalogue
    from ..family import families

    kinds = [*(kind for family in families() for kind in family.kinds), "steer", "store"]
    found: list[Any] = sorted(catalogue.parts().values(), key=lambda part: (kinds.index(part.kind), part.name))
    return [
        {
            "kind": part.kind,
            "name": part.name,
            "summary": summary(part),
            "settings": [
                {"name": each.name, "type": each.annotation, "default": each.default, "comment": each.comment}
                for each in settings_of(part)
            ],
        }
        for part in found
    ]


def taxonomy() -> str:
    """The map of the methods in Markdown."""
    from ..diagnose import filling
    from ..diagnose import taxonomy as written

    entries = _entries(None)
    methods = [entry for entry in entries if not entry.command]
    flagged = written.page([(entry, flags_of(entry)) for entry in methods], [e for e in entries if e.command])
    placed = [(entry, filling.place(entry, _own(entry))) for entry in methods if entry.family == filling.FAMILY]
    return f"{flagged}\n{filling.section(placed, _filling_parts(), _at_a_mask)}"


def _own(entry: Entry) -> list[Any]:
    """The parts of a method that stand in the file of its entry."""
    from .. import method

    return [part for part in held(method.parse(entry.parts)) if entry in _declared(type(part))]


def _filling_parts() -> dict[str, str]:
    """The text of each part that fills canvases -> its kind; also of settings that fit elsewhere than the defaults."""
    from .. import catalogue
    from ..diagnose.filling import TECHNIQUE_OF

    kinds = list(TECHNIQUE_OF)
    named = [part for part in catalogue.parts().values() if part.kind in kinds]
    found = {FILLED_PARTS.get(part.name, part.name): part.kind for part in named}
    found |= {"explore(branches=2)": "order", "freedave(subset=true)": "guesser"}
    return dict(sorted(found.items(), key=lambda each: (kinds.index(each[1]), each[0])))


def _at_a_mask(text: str, block_causal: bool) -> None:
    """Put a method to a model that can do everything, and sees its canvas or its blocks. Raises as the engine does."""
    from .. import method
    from ..models.contract import Ability
    from ..models.masked import Masking
    from ..models.table import MaskedTable

    target = MaskedTable(8, lambda at, seen: [0.0] * 8, Masking(7, block=4 if block_causal else None))
    target.abilities = Ability.ALL | Ability.BRANCHES
    method.check(method.parse(text), target)


FILLED_PARTS = {"learned": "learned(file=FILE)"}  # nothing can be asked of these without a setting
FILLED = {  # the same of methods
    "superposed": "superposed(text=FILE)",
    "learn2pd": "learned(file=FILE)+blocks(32)+end-of-text",
}


def support() -> str:
    """The support matrix in Markdown."""
    from ..diagnose import support as written

    return written.page([entry for entry in _entries(None) if not entry.command], door, FILLED)


def door(parts: str, ask: Ask, settings: Mapping[str, Any], abilities: Ability) -> None:
    """What a request meets before any work is done, put to a target of these abilities. Raises as the engine does."""
    from .. import method
    from ..request import Request

    request = Request.of(settings)
    chosen = planned(parts, ask.planner)
    target = suiting(chosen)
    target.abilities = abilities
    chosen = method.complete(chosen, target)
    method.check(chosen, target, request.pipeline(frozenset(), chosen.steers), request.samples)
    request.check(target.vocabulary)


def suiting(chosen: Method) -> Model:
    """A target that can do everything, of the kind that the method is for: one that continues text, if that is all the
    same to it or nothing suits, or one that fills masks, seeing all of them or block by block.
    """
    from .. import method
    from ..models.contract import Ability
    from ..models.masked import Masking
    from ..models.table import MaskedTable, TableModel

    continuing = TableModel(8, lambda path: [0.0] * 8)
    filling = (MaskedTable(8, lambda at, seen: [0.0] * 8, Masking(7, block=block)) for block in (None, 4))
    for target in chain([continuing], filling):
        target.name, target.abilities, target.layers, target.heads = "the target", Ability.ALL, 32, 32
        try:
            method.check(method.complete(chosen, target), target)
        except StrettoError:
            continue
        return target
    return continuing


@cache
def planned(parts: str, planner: str) -> Method:
    """The method of these parts under another planner, if one is named. Raises InvalidRequest where none plans."""
    from dataclasses import replace

    from .. import method

    chosen: Any = method.parse(parts)
    if planner and getattr(chosen, "draft", None) is not None:
        other: Any = method.parse(f"lookup+{planner}")
        return cast("Method", replace(chosen, plan=other.plan))
    return method.parse(f"{parts}+{planner}") if planner else method.parse(parts)


def flags_of(entry: Entry) -> Flags:
    """Where an entry stands among the methods."""
    from .. import method
    from ..diagnose.taxonomy import classify

    parsed: Any = method.parse(entry.parts)
    if getattr(parsed, "draft", None) is None:
        return classify(entry, None, (), "")
    drafters = _drafters(parsed.draft)
    principal = [found for drafter in drafters for found in _principal(drafter)]
    return classify(entry, parsed.draft, principal, parsed.accept.name)


def _drafters(drafter: Any) -> list[Any]:
    """A drafter, then those that it holds."""
    held = [getattr(drafter, each.name) for each in settings_of(type(drafter))]
    flat = [part for value in held for part in (value if isinstance(value, tuple) else (value,))]
    return [drafter, *(each for part in flat if getattr(part, "kind", "") == "drafter" for each in _drafters(part))]


def _principal(drafter: Any) -> list[Entry]:
    """The entry that stands beside a drafter, if any; of several the one that begins with its name."""
    declared = _declared(type(drafter))
    named = [entry for entry in declared if entry.parts.startswith(drafter.name)]
    return (named or declared)[:1]


def _declared(part: type) -> list[Entry]:
    """The entries that stand in the file of a part."""
    module = sys.modules[part.__module__]
    return [module.ENTRY] if hasattr(module, "ENTRY") else list(getattr(module, "ENTRIES", ()))


def _entries(family: str | None) -> list[Entry]:
    from .. import catalogue

    entries = sorted(catalogue.entries().values(), key=lambda entry: (entry.family, entry.number or 0, entry.name))
    families = {entry.family for entry in entries}
    if family is not None and family not in families:
        raise UnknownName(f"there is no family {family!r}", hint=closest(family, families))
    return [entry for entry in entries if family in (None, entry.family)]


def _print_table(records: list[dict[str, Any]]) -> None:
    """One line for each entry, cut at the edge of a terminal."""
    shown = [record | {"parts": record["parts"] or record["command"]} for record in records]
    rows = [COLUMNS, *(tuple(_cell(record[column]) for column in COLUMNS) for record in shown)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    edge = shutil.get_terminal_size().columns if on_terminal() else None
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        print(line if edge is None or len(line) <= edge else line[: edge - 1] + "…")


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else "" if value is None else str(value)


def _print_parts(records: list[dict[str, Any]]) -> None:
    for kind in dict.fromkeys(record["kind"] for record in records):
        print(kind.removesuffix("s") + ("es" if kind.endswith("h") else "s"))
        for part in (record for record in records if record["kind"] == kind):
            print(f"  {part['name']:10} {part['summary']}")
            for setting in part["settings"]:
                print(f"  {'':10}   {setting['name']} = {setting['default']}".ljust(40), setting["comment"])
