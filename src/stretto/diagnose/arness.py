"""How far a decode went from left to right: AR-ness, of models that fill positions in any order (arXiv 2506.20639).

What one step fills counts from left to right. Positions that were opened again count as masked, and count again when
they are filled; what is written over a filled position does not count. How windows of the local measure are counted is
unconfirmed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest

ENTRY = Entry(
    name="ar-ness",
    family="diagnostics",
    source="arXiv 2506.20639; code github.com/apple/ml-diffucoder",
    parts="",
    guarantee=Guarantee.NONE,
    number=219,
    summary="how often the next position filled is among the leftmost masks, or follows the one before",
    command="stretto diagnose --trace FILE",
)

SIZES = (1, 2, 4, 8)  # k, for which both measures are told


@dataclass(slots=True)
class Order:
    """Sums over answers; one step of a decode that fills from left to right counts like plain decoding."""

    commits: int = 0
    ranks: dict[int, int] = field(default_factory=dict)  # masks to the left of the one filled -> how often
    stretches: dict[int, int] = field(default_factory=dict)  # length of a maximal consecutive stretch -> how often
    by_chance: dict[int, float] = field(default_factory=dict)  # k -> hits expected of a random order
    lengths: list[int] = field(default_factory=list)  # commits of each answer

    def add(self, steps: Iterable[Mapping[str, Any]]) -> None:
        """Count one answer, by the steps of its trace."""
        changes = [(_positions(step), list(step.get("remasked", ()))) for step in steps]
        masked = sorted({position for filled, _ in changes for position in filled})
        sequence: list[int] = []
        for filled, opened in changes:
            for position in sorted(filled):
                rank = bisect_left(masked, position)
                if rank == len(masked) or masked[rank] != position:
                    raise KeyError(f"position {position} is filled twice")
                for size in SIZES:
                    self.by_chance[size] = self.by_chance.get(size, 0.0) + min(size, len(masked)) / len(masked)
                masked.pop(rank)
                self.ranks[rank] = self.ranks.get(rank, 0) + 1
                sequence.append(position)
            for position in opened:
                insort(masked, position)
        self.commits += len(sequence)
        self.lengths.append(len(sequence))
        for length in _stretches(sequence):
            self.stretches[length] = self.stretches.get(length, 0) + 1

    def global_(self, size: int) -> float:
        """Share of commits among the `size` leftmost masks; 1 from left to right."""
        _check(size)
        hits = sum(count for rank, count in self.ranks.items() if rank < size)
        return hits / self.commits if self.commits else 0.0

    def local(self, size: int) -> float:
        """Share of `size` commits in a row that stand side by side, ascending; 1 from left to right."""
        _check(size)
        windows = sum(max(0, length - size + 1) for length in self.lengths)
        hits = sum(max(0, length - size + 1) * count for length, count in self.stretches.items())
        return hits / windows if windows else 0.0

    def record(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        return {
            "commits": self.commits,
            "global": {str(size): self.global_(size) for size in SIZES},
            "local": {str(size): self.local(size) for size in SIZES},
            "global_of_random_orders": {
                str(size): hits / max(1, self.commits) for size, hits in sorted(self.by_chance.items())
            },
        }


def order_of_records(records: Iterable[Mapping[str, Any]]) -> Order:
    """The order in which saved traces were filled (`Generation.record`). Raises InvalidRequest where one is none."""
    found = Order()
    for record in records:
        try:
            if record.get("error") is None:
                found.add(record["steps"])
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise InvalidRequest(
                f"this is no trace: {error!r}", hint="save one with `stretto generate --trace FILE`"
            ) from error
    return found


def random_order(masks: int, size: int) -> float:
    """The global measure expected of a random order: the mean of min(size, m) / m over m = 1 … masks."""
    _check(size)
    return sum(min(size, left) / left for left in range(1, masks + 1)) / masks if masks else 0.0


def _positions(step: Mapping[str, Any]) -> list[int]:
    """What a step filled; where it names no positions, what follows its first."""
    named = list(step.get("positions", ()))
    return named or list(range(step["position"], step["position"] + len(step["committed"])))


def _stretches(sequence: Sequence[int]) -> list[int]:
    """Lengths of the maximal parts of a sequence whose members each follow the one before."""
    lengths: list[int] = []
    for before, position in zip([None, *sequence], sequence, strict=False):
        if before is not None and position == before + 1:
            lengths[-1] += 1
        else:
            lengths.append(1)
    return lengths


def _check(size: int) -> None:
    if size < 1:
        raise InvalidRequest(f"the {size} leftmost masks", hint="1 or more")
