"""What is found of methods that answer questions."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from ...generation import Counters
from ..results import Spread
from ..stored import Stored

COUNTS = ("rounds", "row_forwards", "token_forwards", "layer_token_forwards")
COSTS = (*COUNTS, "seconds")
RATIOS = (*COSTS, "speed")
CERTAINTY = 1.96  # standard errors of a 95 % interval
ALL = "all"  # the family of all families


@dataclass(slots=True)
class ContestantQuality:
    """One method on one task."""

    name: str
    method: str  # its text form, in full
    right: list[int]  # of each question: 1 or 0
    accuracy: float  # share of these
    low: float  # Wilson's interval at 95 %
    high: float
    gain: float  # accuracy above the baseline's
    gain_error: float  # its standard error, from the differences question by question
    same: int  # answers that are the baseline's, token for token
    tokens: int  # written in one repeat
    counters: Counters  # of one repeat
    seconds: list[float]  # of each repeat that wrote the same as the first; whole calls, the prompt included
    speed: Spread  # tokens per second
    ratios: dict[str, Spread] = field(default_factory=dict)  # times the baseline's: costs, speed; of the same repeat

    def cost(self, name: str) -> float:
        """One of `COSTS` per answer."""
        total = statistics.median(self.seconds) if name == "seconds" else getattr(self.counters, name)
        return float(total) / len(self.right)


@dataclass(slots=True)
class TaskQuality:
    """All methods on one task."""

    name: str
    asked: int  # questions
    long: int  # left out: prompt and answer are longer than the model's positions
    contestants: list[ContestantQuality] = field(default_factory=list)

    @property
    def family(self) -> str:
        """`gym`, `parallel` …"""
        return self.name.partition(":")[0]


@dataclass(slots=True)
class MeanQuality:
    """A method over the tasks of a family."""

    family: str
    name: str
    tasks: int
    accuracy: float  # arithmetic mean
    low: float  # interval at 95 %, from those of the tasks
    high: float
    gain: float
    gain_error: float
    worst: float  # the lowest gain
    worst_task: str
    costs: dict[str, float]  # geometric means of what an answer costs
    ratios: dict[str, float]  # geometric means of the medians

    @property
    def difference(self) -> tuple[float, float]:
        """The interval at 95 % of the gain; of no width where no question was judged otherwise."""
        return self.gain - CERTAINTY * self.gain_error, self.gain + CERTAINTY * self.gain_error


@dataclass(slots=True)
class Quality(Stored):
    """Everything `stretto bench quality` found. The first method of each task is the baseline."""

    COMMAND: ClassVar[str] = "stretto bench quality"
    ENTRY: ClassVar[str] = "quality"

    tasks: list[TaskQuality] = field(default_factory=list)
    means: list[MeanQuality] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)  # task or method -> why it was not measured

    def record(self) -> dict[str, Any]:
        """With the entry by which it is known."""
        return {self.ENTRY: True} | asdict(self)

    @classmethod
    def current(cls, record: dict[str, Any]) -> dict[str, Any]:
        """Without that entry."""
        return {name: value for name, value in record.items() if name != cls.ENTRY}
