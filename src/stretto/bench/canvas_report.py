"""What `stretto bench canvas` found, as text: figures, and below them whose tokens are not what they must be."""

from __future__ import annotations

from collections.abc import Sequence

from .canvas import PLAIN, Comparison, Lane
from .provenance import machine_line
from .results import Spread


def table(found: Comparison) -> str:
    """The figures, batch by batch, and the notes."""
    settings = found.provenance["settings"]
    lines = [
        f"{settings['model']}, {settings['count']} prompts of {settings['shortest']} to {settings['longest']} tokens, "
        f"answers of {settings['max_new_tokens']}, {machine_line(found.provenance)}",
        "medians of the repeats (quartiles); 'same': the plain way that computes the same, and writes the same tokens",
    ]
    for batch in dict.fromkeys(lane.batch for lane in found.lanes):
        head = f"batch {batch}"
        lines += ["", f"{head:44}{'tokens/s':>9}{'x ' + PLAIN:>22}{'x same':>22}{'rounds':>8}{'token-forwards':>16}"]
        for lane in (lane for lane in found.lanes if lane.batch == batch):
            ratios = [_shown(lane.ratios.get(base)) for base in (PLAIN, lane.same)]
            line = f"{lane.name:44}{lane.speed.median:9.1f}{ratios[0]:>22}{ratios[1]:>22}"
            lines.append(line + f"{lane.rounds:8}{lane.token_forwards:16}")
    return "\n".join([*lines, "", *notes(found.lanes)])


def notes(lanes: Sequence[Lane]) -> list[str]:
    """Whose tokens differ from whose; a plain way that is unlike itself says nothing against ours."""
    lines = []
    for lane in lanes:
        if lane.unsteady:
            lines.append(f"{lane.name} alone ≠ in its batch of {lane.batch}: {_prompts(lane.unsteady)}")
            lines[-1] += "" if lane.ours else "; theirs, and no difference of ours"
        if lane.differing:
            lines.append(f"{lane.name}, batch {lane.batch} ≠ {lane.same} alone: {_prompts(lane.differing)}")
    held = [lane for lane in lanes if lane.ours and lane.same]
    if held and not any(lane.wrong for lane in lanes):
        lines.append("ours = plain alone, to every prompt, side by side as by itself")
    return lines


def _prompts(count: int) -> str:
    return f"{count} prompt{'s' * (count != 1)}"


def _shown(ratio: Spread | None) -> str:
    return "" if ratio is None else f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"
