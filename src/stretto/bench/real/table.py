"""The result as a table that fits a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from .. import tables
from ..provenance import machine_line
from ..results import Spread
from ..tables import Entry
from .results import ColumnResult, Fidelity, Real, RealContestant

WIDTH = 18  # of a contestant's name


def table(real: Real) -> str:
    """Column by column: speeds, ratios, what was written, ratios kind by kind; then fidelity and who is missing."""
    lines = [origin(real)]
    for found in real.columns:
        lines += ["", f"==== {found.column} ====", legend(found), ""]
        lines += [tables.head(" " * WIDTH, CONTESTANTS)]
        lines += [tables.line(f"{one.name:{WIDTH}.{WIDTH}}", CONTESTANTS, one) for one in found.contestants]
        lines += ["", *_kinds(found)]
    if real.fidelity:
        lines += ["", tables.head(" " * WIDTH, FIDELITY)]
        lines += [tables.line(f"{one.name:{WIDTH}.{WIDTH}}", FIDELITY, one) for one in real.fidelity]
    return "\n".join([*lines, "", *notes(real)]).rstrip()


def origin(real: Real) -> str:
    """What was measured where, in a line."""
    record, settings = real.provenance, real.provenance["settings"]
    instructions = " ".join(record["machine"].get("instructions", ()))
    said = f"{Path(settings['model']).name} as {settings['form']}, {settings['prompts']} prompts, at most "
    return f"{said}{settings['max_new_tokens']} new tokens, {machine_line(record)} ({instructions})"


def legend(found: ColumnResult) -> str:
    """What the speeds are of, and whom they are compared with."""
    speed = "decoding alone" if found.column.batch == 1 else "whole calls"
    best = f"the best peer is {found.best}" if found.best else "there is no peer: ratios are to plain"
    return f"tokens/s of {speed}; {best}; medians over the prompts of paired ratios (quartiles)"


def notes(real: Real) -> list[str]:
    """What was left out, and why."""
    lines = [f"passed over, longer than the model's positions: {kind} {n}" for kind, n in real.long.items() if n]
    return [*lines, *(f"skipped {name}: {why}" for name, why in real.skipped.items())]


def _spread(of: Callable[[RealContestant], Spread | None], form: str) -> Callable[[RealContestant], str]:
    def cell(one: RealContestant) -> str:
        found = of(one)
        return "" if found is None else format(found, form)

    return cell


CONTESTANTS: Sequence[Entry[RealContestant]] = (
    Entry("tokens/s", 20, lambda one: f"{one.speed:.1f}"),
    Entry("x best peer", 19, _spread(lambda one: one.beside_best, ".2f")),
    Entry("without loops", 19, _spread(lambda one: one.beside_best_unlooped, ".2f")),
    Entry("x plain", 19, _spread(lambda one: one.beside_plain, ".2f")),
    Entry("first, ms", 10, lambda one: f"{one.first.median:.0f}"),
    Entry("read/s", 8, lambda one: f"{one.reading.median:.0f}"),
    Entry("rounds", 8, lambda one: str(one.rounds)),
    Entry("tau", 6, lambda one: f"{one.tokens_per_round:.2f}"),
    Entry("differ", 9, lambda one: f"{one.differing}/{one.rows}"),
    Entry("loop", 6, lambda one: str(one.looping)),
    Entry("8-grams", 9, lambda one: f"{one.repeated:.0%}"),
)
FIDELITY: Sequence[Entry[Fidelity]] = (
    Entry("perplexity", 12, lambda one: f"{one.perplexity:.3f}"),
    Entry("KL to float32", 15, lambda one: f"{one.kl:.5f}"),
    Entry("top-1 equal", 13, lambda one: f"{one.top1:.1%}"),
    Entry("positions", 11, lambda one: str(one.positions)),
)


def _kinds(found: ColumnResult) -> list[str]:
    """Contestants by kinds."""
    kinds = list(dict.fromkeys(kind for one in found.contestants for kind in one.kinds))
    entries: list[Entry[RealContestant]] = [Entry(kind, 2 + max(6, len(kind)), _of_kind(kind)) for kind in kinds]
    label = "x best peer" if found.best else "x plain"
    return [
        tables.head(f"{label:{WIDTH}}", entries),
        *(tables.line(f"{one.name:{WIDTH}.{WIDTH}}", entries, one) for one in found.contestants),
    ]


def _of_kind(kind: str) -> Callable[[RealContestant], str]:
    return lambda one: f"{one.kinds[kind]:.2f}" if kind in one.kinds else ""
