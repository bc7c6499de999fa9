"""What a trace says about drafting: tokens per round, acceptance by depth, by rank and by source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from ..generation import Counters, Generation, Step
from ..tree import ROOT

ENTRY = Entry(
    name="trace-metrics",
    family="diagnostics",
    source="arXiv 2502.19732 (what surveys of speculative decoding measure)",
    parts="",
    guarantee=Guarantee.NONE,
    summary="tokens per round, acceptance by depth, by rank among siblings and by source, simulated ratios",
    command="stretto diagnose --trace FILE",
)

COSTS = (0.02, 0.1, 0.3)  # of a drafter's forward, in target forwards: at these a ratio is told


@dataclass(slots=True)
class Share:
    """How many of how many."""

    hits: int = 0
    tried: int = 0

    def add(self, hit: bool) -> None:
        """Count one."""
        self.hits += hit
        self.tried += 1

    @property
    def rate(self) -> float:
        """0 where nothing was tried."""
        return self.hits / self.tried if self.tried else 0.0


@dataclass(slots=True)
class Metrics:
    """Sums over answers. Riders (auxiliary nodes) count as drafted where a trace holds them."""

    answers: int = 0
    rounds: int = 0  # of rows
    forwards: int = 0  # of the engine's own model, in rows
    new_tokens: int = 0
    drafted: int = 0  # nodes that were verified
    accepted: int = 0
    draft_depths: int = 0  # depths of the drafts, summed: forwards of a drafter that evaluates a model a level
    by_depth: dict[int, Share] = field(default_factory=dict)  # rounds that reached a depth with a draft; it was right
    by_rank: Counter[int] = field(default_factory=Counter)  # accepted nodes by their rank among siblings, from 0
    by_source: dict[str, Share] = field(default_factory=dict)  # drafted nodes; accepted
    filled: int = 0  # committed tokens that a model filled into masks, in whatever order
    written_by: Counter[str] = field(default_factory=Counter)  # committed tokens by source; "" for the model's own

    @property
    def block_efficiency(self) -> float:
        """τ: committed tokens per forward of the engine's own model and row."""
        return self.new_tokens / self.forwards if self.forwards else 0.0

    @property
    def acceptance(self) -> float:
        """Accepted per drafted node. Of a tree only one path can be accepted."""
        return self.accepted / self.drafted if self.drafted else 0.0

    @property
    def nodes_per_token(self) -> float:
        """Slots that the engine's own model evaluated for drafts, per committed token."""
        return self.drafted / self.new_tokens if self.new_tokens else 0.0

    @property
    def drafts_per_token(self) -> float:
        """Levels that were drafted per committed token."""
        return self.draft_depths / self.new_tokens if self.new_tokens else 0.0

    def simulated_ratio(self, cost: float) -> float:
        """Against plain decoding, where a verification is one forward and a drafted level costs `cost` forwards."""
        spent = self.forwards + cost * self.draft_depths
        return self.new_tokens / spent if spent else 0.0

    def add(self, steps: Iterable[Step], counters: Counters) -> None:
        """Count one answer."""
        self.answers += 1
        self.forwards += counters.row_forwards
        for step in steps:
            self.rounds += 1
            self.new_tokens += len(step.committed)
            self.filled += len(step.positions)
            self.drafted += len(step.drafted)
            self.accepted += len(step.accepted)
            self.written_by.update(step.sources)
            self._add_tree(step)

    def _add_tree(self, step: Step) -> None:
        depths: list[int] = []
        below: dict[int, int] = {}  # children per parent so far
        ranks: list[int] = []
        for parent in step.parents:
            depths.append(1 if parent == ROOT else depths[parent] + 1)
            ranks.append(below.get(parent, 0))
            below[parent] = ranks[-1] + 1
        accepted = set(step.accepted)
        for node, source in enumerate(step.drafters):
            self.by_source.setdefault(source, Share()).add(node in accepted)
        self.by_rank.update(ranks[node] for node in step.accepted)
        self.draft_depths += max(depths, default=0)
        for depth, node in enumerate([ROOT, *step.accepted], start=1):
            cut = depth > len(step.committed)  # the row ended here: nothing was asked of the next depth
            if below.get(node) and not cut:
                self.by_depth.setdefault(depth, Share()).add(depth <= len(step.accepted))

    def record(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        return {
            "answers": self.answers,
            "rounds": self.rounds,
            "forwards": self.forwards,
            "new_tokens": self.new_tokens,
            "block_efficiency": self.block_efficiency,
            "acceptance": self.acceptance,
            "nodes_per_token": self.nodes_per_token,
            "drafts_per_token": self.drafts_per_token,
            "simulated_ratio": {str(cost): self.simulated_ratio(cost) for cost in COSTS},
            "acceptance_by_depth": [
                {"depth": depth, "tried": share.tried, "rate": share.rate}
                for depth, share in sorted(self.by_depth.items())
            ],
            "accepted_by_rank": dict(sorted(self.by_rank.items())),
            "by_source": {
                source: {"drafted": share.tried, "accepted": share.hits, "rate": share.rate}
                for source, share in sorted(self.by_source.items())
            },
            "written_by": dict(sorted(self.written_by.items())),
        }


def metrics(answers: Iterable[Generation]) -> Metrics:
    """The metrics of answers that were decoded by one method; those with an error are left out."""
    found = Metrics()
    for answer in answers:
        if answer.error is None:
            found.add(answer.steps, answer.counters)
    return found


def metrics_of_records(records: Iterable[Mapping[str, Any]]) -> Metrics:
    """The same of saved traces (`Generation.record`, `save_trace`). Raises InvalidRequest where one is none."""
    found = Metrics()
    for record in records:
        try:
            steps = [_read(Step, step) for step in record["steps"]]
            counters = _read(Counters, record["counters"])
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidRequest(
                f"this is no trace: {error!r}", hint="save one with `stretto generate --trace FILE`"
            ) from error
        if record.get("error") is None:
            found.add(steps, counters)
    return found


def _read(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """A dataclass from plain data; what a later version has added to it is passed over."""
    known = {each.name for each in fields(kind)}
    return kind(**{name: value for name, value in values.items() if name in known})
