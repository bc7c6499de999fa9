"""What is found of methods that answer questions, and its JSON form."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...errors import InvalidRequest
from ...files import write_text
from ...generation import Counters
from ..results import INNERMOST, Spread, in_a_line

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
class Quality:
    """Everything `stretto bench quality` found. The first method of each task is the baseline."""

    provenance: dict[str, Any]
    tasks: list[TaskQuality] = field(default_factory=list)
    means: list[MeanQuality] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)  # task or method -> why it was not measured

    def save(self, path: Path) -> None:
        """Write as JSON."""
        text = json.dumps({"quality": True} | asdict(self), indent=1, ensure_ascii=False)
        write_text(path, INNERMOST.sub(in_a_line, text) + "\n")

    @staticmethod
    def is_in(path: Path) -> bool:
        """Whether a JSON file looks like this."""
        try:
            return "quality" in json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, TypeError):
            return False

    @classmethod
    def load(cls, path: Path) -> Quality:
        """Read what `save` wrote. Raises InvalidRequest where it is something else."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            means = [MeanQuality(**mean) for mean in record["means"]]
            return cls(record["provenance"], [_task(task) for task in record["tasks"]], means, record["skipped"])
        except (ValueError, KeyError, TypeError) as error:
            hint = "name the JSON file that `stretto bench quality --out` wrote"
            raise InvalidRequest(f"{path} holds no such result: {error!r}", hint=hint) from error


def _task(record: dict[str, Any]) -> TaskQuality:
    return TaskQuality(**record | {"contestants": [_contestant(contestant) for contestant in record["contestants"]]})


def _contestant(record: dict[str, Any]) -> ContestantQuality:
    ratios = {name: Spread(**spread) for name, spread in record["ratios"].items()}
    read = {"speed": Spread(**record["speed"]), "counters": Counters(**record["counters"]), "ratios": ratios}
    return ContestantQuality(**record | read)
