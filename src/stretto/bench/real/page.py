"""Pictures and a page of the result: speeds beside the best peer, kind by kind."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from textwrap import wrap
from typing import Any

from .. import markup, tables
from ..drawing import headed, legend, plainly, png, pyplot, svg
from ..plot import OURS, PLAINLY
from ..results import PLAIN
from .results import ColumnResult, Real, RealContestant
from .table import CONTESTANTS, FIDELITY, notes, origin
from .table import legend as said

THEIRS = ("#c1121f", "#e09f00", "#bc6c25", "#d8a48f", "#9c6644", "#ffb703")
ALL = "all prompts"
ACROSS = 100  # characters above a picture


def plot(real: Real, path: Path) -> None:
    """Write a PNG of the first column. Raises Unsupported where matplotlib is not installed."""
    figure = by_kind(real.columns[0])
    headed(figure, "\n".join([said(real.columns[0]), *wrap(origin(real), ACROSS)]))
    png(figure, path)


def by_kind(found: ColumnResult) -> Any:
    """A line for all prompts, with quartiles, and one for each kind; a mark per contestant."""
    kinds = list(dict.fromkeys(kind for one in found.contestants for kind in one.kinds))
    figure, axis = pyplot().subplots(figsize=(9.0, 1.6 + 0.3 * len(kinds)), layout="constrained")
    ours, theirs = iter(OURS * len(found.contestants)), iter(THEIRS * len(found.contestants))
    for one in found.contestants:
        colour = PLAINLY if one.name == PLAIN else next(ours if one.ours else theirs)
        style = {"color": colour, "marker": "o" if one.ours else "D", "linestyle": "none"}
        whole = one.beside_best if found.best else one.beside_plain
        if whole is not None:
            reach = [[whole.median - whole.low], [whole.high - whole.median]]
            axis.errorbar([whole.median], [0], xerr=reach, markersize=8, label=one.name, **style)
        axis.plot(list(one.kinds.values()), [1 + kinds.index(kind) for kind in one.kinds], markersize=5, **style)
    axis.axvline(1.0, color="#333333", linewidth=1)
    axis.axhline(0.5, color="#999999", linewidth=0.6)
    axis.set_yticks(range(1 + len(kinds)), [ALL, *kinds], fontsize=9)
    axis.set_ylim(len(kinds) + 0.6, -0.6)
    axis.set_xlim(left=0)
    axis.set_xlabel(f"times the speed of {found.best or PLAIN} on the same prompt", fontsize=9)
    plainly(axis, grid="x", bare=("top", "right", "left"))
    legend(figure, axis, ncols=4, markerscale=0.7)
    return figure


def real_parts(real: Real, name: str, key: str) -> list[str]:
    """Everything that one result shows on a page; `key` keeps its figures apart from others'."""
    body = []
    for at, found in enumerate(real.columns):
        drawn = markup.figure(svg(by_kind(found), f"{key}-kinds-{at}"), f"{said(found)}.")
        body += [f"<h2>{escape(str(found.column))}</h2>", drawn, _table(found.contestants)]
    if real.fidelity:
        rows = [tables.cells(one.name, FIDELITY, one) for one in real.fidelity]
        body += ["<h2>Fidelity</h2>", markup.table(tables.titles("", FIDELITY), rows)]
    return markup.section(real.provenance, name, body, line=origin(real), notes=notes(real))


def _table(contestants: Sequence[RealContestant]) -> str:
    rows = [tables.cells(one.name, CONTESTANTS, one) for one in contestants]
    return markup.table(tables.titles("", CONTESTANTS), rows)
