"""Tries claims, and writes down what came of them: a page in Markdown, a record in JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any, ClassVar

from ...errors import StrettoError, UnknownName, closest
from ..results import Spread
from ..stored import Stored
from .acceptance import CLAIMS as ACCEPTANCE
from .constraints import CLAIMS as CONSTRAINTS
from .contract import Absent, Claim, Figure, Figures
from .diffusion import CLAIMS as DIFFUSION
from .drafts import CLAIMS as DRAFTS
from .extraction import CLAIMS as EXTRACTION
from .lab import Lab
from .pictures import CLAIMS as PICTURES
from .retrieval import CLAIMS as RETRIEVAL
from .rewards import CLAIMS as REWARDS
from .routes import CLAIMS as ROUTES
from .searches import CLAIMS as SEARCHES
from .trust import CLAIMS as TRUST

CLAIMS = (
    *RETRIEVAL,
    *DRAFTS,
    *ACCEPTANCE,
    *ROUTES,
    *CONSTRAINTS,
    *EXTRACTION,
    *REWARDS,
    *PICTURES,
    *SEARCHES,
    *TRUST,
    *DIFFUSION,
)  # a new family is one more

HEAD = """\
# Claims

What each system's paper promises, tried here in kind: as a ratio or an ordering, on the models that ship with the
package, on gym questions, real text, exact enumeration or a simulated clock. This page is the output of a command:

    {command}

{line}.
"""


@dataclass(slots=True)
class Found:
    """What came of one claim."""

    claim: Claim
    figures: Figures = field(default_factory=dict)
    trouble: str = ""  # why there are no figures
    absent: bool = False  # because something is missing
    differing: int = 0  # answers left out because an exact method wrote other tokens
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether all relations hold."""
        return bool(self.figures) and all(relation.holds(self.figures) for relation in self.claim.must)

    @property
    def verdict(self) -> str:
        """In words, with the reason where it does not hold."""
        if self.absent:
            return f"not measured: {self.trouble}"
        if self.trouble:
            return f"**failed**: {self.trouble}"
        if self.holds:
            return "holds"
        broken = ", ".join(str(each) for each in self.claim.must if not each.holds(self.figures))
        return f"**does not hold** (wanted {broken}): {self.claim.where_not or 'the reason is not known yet'}"

    def record(self) -> dict[str, Any]:
        """For JSON."""
        claim = self.claim
        return {
            "name": claim.name,
            "entry": claim.entry,
            "number": claim.number,
            "says": claim.says,
            "measure": claim.measure,
            "contest": claim.contest.text,
            "figures": {
                name: asdict(found) if isinstance(found, Spread) else found for name, found in self.figures.items()
            },
            "must": [{"relation": str(each), "holds": each.holds(self.figures)} for each in claim.must if self.figures],
            "holds": self.holds,
            "verdict": self.verdict,
            "differing": self.differing,
            "seconds": self.seconds,
            "command": claim.command,
        }


@dataclass(slots=True)
class Tried(Stored):
    """Everything `stretto bench claims` found."""

    COMMAND: ClassVar[str] = "stretto bench claims"
    ENTRY: ClassVar[str] = "claims"

    claims: list[dict[str, Any]] = field(default_factory=list)  # each a `Found`'s record


def chosen(names: Sequence[str]) -> list[Claim]:
    """The claims of these names, or of these systems or numbers; all without any. Raises UnknownName."""
    if not names:
        return list(CLAIMS)
    found: list[Claim] = []
    for name in names:
        here = [claim for claim in CLAIMS if name in (claim.name, claim.entry, str(claim.number))]
        if not here:
            hint = closest(name, [claim.name for claim in CLAIMS])
            raise UnknownName(f"no claim is named {name!r}", hint=hint)
        found += [claim for claim in here if claim not in found]
    return found


def tried(claims: Sequence[Claim], lab: Lab) -> Iterator[Found]:
    """Each claim in turn; trouble with one does not keep the others from being tried."""
    for claim in claims:
        lab.differing, begun = 0, perf_counter()
        found = Found(claim)
        try:
            figures = claim.contest(lab)
            found.figures = {
                name: each if isinstance(each, Spread) else float(each) for name, each in figures.items()
            }  # numbers of numpy are not JSON's
        except StrettoError as error:
            found.trouble, found.absent = str(error), isinstance(error, Absent)
        found.differing, found.seconds = lab.differing, perf_counter() - begun
        yield found


def page(found: Sequence[Found], command: str, line: str) -> str:
    """The table, and below it how each contest goes. `line` tells machine, models and date."""
    rows = ["| claim | ours | holds? | command |", "|---|---|---|---|"]
    for each in found:
        claim = each.claim
        number = f" ({claim.number})" if claim.number is not None else ""
        ours = "; ".join(f"{name} {shown(figure)}" for name, figure in each.figures.items()) or "–"
        left = f"; {each.differing} answers left out" if each.differing else ""
        rows.append(
            f"| **{claim.entry}**{number}: {claim.says} | {claim.measure}: {ours}{left} "
            f"| {each.verdict} | `{claim.command}` |"
        )
    holding = sum(each.holds for each in found)
    total = f"{holding} of {len(found)} hold."
    contests = [f"- **{each.claim.name}**: {each.claim.contest.text}. {_wanted(each.claim)}" for each in found]
    head = HEAD.format(command=command, line=line)
    return "\n".join([head, *rows, "", total, "", "## The contests", "", *contests]) + "\n"


def _wanted(claim: Claim) -> str:
    return "Wanted: " + ", ".join(map(str, claim.must)) + "."


def shown(figure: Figure) -> str:
    """A number to three digits, with its quartiles if it has any."""
    if isinstance(figure, Spread):
        return f"{figure:.2f}"
    return f"{figure:.3g}" if abs(figure) < 1 else f"{figure:.2f}"
