"""`stretto methods`: what ways of decoding there are, and what they are made of."""

from __future__ import annotations

import argparse
import inspect
import json
import shutil
from typing import TYPE_CHECKING, Any

from ..errors import UnknownName, closest
from .fields import settings_of
from .paint import on_terminal

if TYPE_CHECKING:
    from ..entry import Entry

COLUMNS = ("name", "number", "family", "guarantee", "parts", "needs", "summary")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--family", metavar="F", help="only this family")
    group.add_argument("--parts", action="store_true", help="drafters, acceptors and planners with their settings")
    parser.add_argument("--json", action="store_true", help="a list of objects")


def run(given: argparse.Namespace) -> int:
    """Print the catalogue, or the parts."""
    records = parts() if given.parts else [record(entry) for entry in _entries(given.family)]
    if given.json:
        print(json.dumps(records, indent=1, ensure_ascii=False))
    elif given.parts:
        _print_parts(records)
    else:
        _print_table(records)
    return 0


def record(entry: Entry) -> dict[str, Any]:
    """A catalogue entry as plain data."""
    return {
        "name": entry.name,
        "number": entry.number,
        "family": entry.family,
        "parts": entry.parts,
        "guarantee": entry.guarantee.value,
        "needs": list(entry.needs),
        "source": entry.source,
        "summary": entry.summary,
    }


def parts() -> list[dict[str, Any]]:
    """Every part as plain data: kind, name, summary, settings; drafters first."""
    from .. import catalogue

    kinds = ("drafter", "acceptor", "planner")
    found: list[Any] = sorted(catalogue.parts().values(), key=lambda part: (kinds.index(part.kind), part.name))
    return [
        {
            "kind": part.kind,
            "name": part.name,
            "summary": inspect.cleandoc(part.__doc__ or "").partition("\n")[0],
            "settings": [
                {"name": each.name, "type": each.annotation, "default": each.default, "comment": each.comment}
                for each in settings_of(part)
            ],
        }
        for part in found
    ]


def _entries(family: str | None) -> list[Entry]:
    from .. import catalogue

    entries = sorted(catalogue.entries().values(), key=lambda entry: (entry.family, entry.number or 0, entry.name))
    families = {entry.family for entry in entries}
    if family is not None and family not in families:
        raise UnknownName(f"there is no family {family!r}", hint=closest(family, families))
    return [entry for entry in entries if family in (None, entry.family)]


def _print_table(records: list[dict[str, Any]]) -> None:
    """One line for each entry, cut at the edge of a terminal."""
    rows = [COLUMNS, *(tuple(_cell(record[column]) for column in COLUMNS) for record in records)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    edge = shutil.get_terminal_size().columns if on_terminal() else None
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        print(line if edge is None or len(line) <= edge else line[: edge - 1] + "…")


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else "" if value is None else str(value)


def _print_parts(records: list[dict[str, Any]]) -> None:
    for kind in dict.fromkeys(record["kind"] for record in records):
        print(f"{kind}s")
        for part in (record for record in records if record["kind"] == kind):
            print(f"  {part['name']:10} {part['summary']}")
            for setting in part["settings"]:
                print(f"  {'':10}   {setting['name']} = {setting['default']}".ljust(40), setting["comment"])
