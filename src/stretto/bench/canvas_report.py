"""What `stretto bench canvas` found, as text: figures, and below them whose tokens are not what they must be."""

from __future__ import annotations

from collections.abc import Sequence

from .canvas import PLAIN, Comparison, WayResult
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
    for batch in dict.fromkeys(contestant.batch for contestant in found.contestants):
        head = f"batch {batch}"
        lines += ["", f"{head:44}{'tokens/s':>9}{'x ' + PLAIN:>22}{'x same':>22}{'rounds':>8}{'token-forwards':>16}"]
        for contestant in (contestant for contestant in found.contestants if contestant.batch == batch):
            ratios = [_shown(contestant.ratios.get(base)) for base in (PLAIN, contestant.same)]
            line = f"{contestant.name:44}{contestant.speed.median:9.1f}{ratios[0]:>22}{ratios[1]:>22}"
            lines.append(line + f"{contestant.rounds:8}{contestant.token_forwards:16}")
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


def _shown(ratio: Spread | None) -> str:
    return "" if ratio is None else f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"
