"""What `stretto bench canvas` found, as text: figures, and below them whose tokens are not what they must be."""

from __future__ import annotations

from collections.abc import Sequence

from . import tables
from .canvas import PLAIN, Comparison, WayResult
from .provenance import machine_line
from .tables import Entry


def _beside(way: WayResult, base: str) -> str:
    return f"{way.ratios[base]:.2f}" if base in way.ratios else ""


ENTRIES: Sequence[Entry[WayResult]] = (
    Entry("tokens/s", 9, lambda way: f"{way.speed.median:.1f}"),
    Entry(f"x {PLAIN}", 22, lambda way: _beside(way, PLAIN)),
    Entry("x same", 22, lambda way: _beside(way, way.same)),
    Entry("rounds", 8, lambda way: str(way.rounds)),
    Entry("token-forwards", 16, lambda way: str(way.token_forwards)),
)


def table(found: Comparison) -> str:
    """The figures, batch by batch, and the notes."""
    settings = found.provenance["settings"]
    lines = [
        f"{settings['model']}, {settings['count']} prompts of {settings['shortest']} to {settings['longest']} tokens, "
        f"answers of {settings['max_new_tokens']}, {machine_line(found.provenance)}",
        "medians of the repeats (quartiles); 'same': the plain way that computes the same, and writes the same tokens",
    ]
    for batch in dict.fromkeys(contestant.batch for contestant in found.contestants):
        lines += ["", tables.head(f"{f'batch {batch}':44}", ENTRIES)]
        lines += [tables.line(f"{each.name:44}", ENTRIES, each) for each in found.contestants if each.batch == batch]
    return "\n".join([*lines, "", *notes(found.contestants)])


def notes(contestants: Sequence[WayResult]) -> list[str]:
    """Whose tokens differ from whose; a plain way that is unlike itself says nothing against ours."""
    lines = []
    for each in contestants:
        if each.unsteady:
            lines.append(f"{each.name} alone ≠ in its batch of {each.batch}: {_prompts(each.unsteady)}")
            lines[-1] += "" if each.ours else "; theirs, and no difference of ours"
        if each.differing:
            lines.append(f"{each.name}, batch {each.batch} ≠ {each.same} alone: {_prompts(each.differing)}")
    held = [each for each in contestants if each.ours and each.same]
    if held and not any(each.wrong for each in contestants):
        lines.append("ours = plain alone, to every prompt, side by side as by itself")
    return lines


def _prompts(count: int) -> str:
    return f"{count} prompt{'s' * (count != 1)}"
