"""`stretto bench anytime`: how many questions searches answer rightly by what they take, size by size.

Two kinds of judges: heads that ship with the zoo, which never saw the questions, and the questions' own checkers, which
stand for tests that are known. What an answer costs is told in tokens that the model evaluated, those that the scorer's
model evaluated, forwards, calls of the scorer, and seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

from .. import gym
from ..context import Context
from ..engine import Engine
from ..generation import Counters, Generation
from ..search.best_of import BestOf
from ..search.blockwise import Blockwise
from ..search.guided import Guided
from ..search.pg_td import PgTd
from ..search.ppo_mcts import PpoMcts
from ..search.scorer import Draft, Scorer, Scoring
from ..search.scorers.value import Value
from ..search.segmenters import Every
from ..search.transfer_q import TransferQ
from ..search.vm_mcts import VmMcts
from ..steer.controlled import Controlled
from .drawing import headed, plainly, png, pyplot
from .provenance import machine_line
from .stored import Stored

KINDS = ("sorting", "list_edit", "counting")
LONGEST = 96  # tokens of an answer
COSTS = {
    "token_forwards": "tokens evaluated, the scorer's model's included",
    "scorer_calls": "texts that the scorer judged",
    "seconds": "seconds",
}


class Book:
    """Questions by the tokens of their prompts."""

    def __init__(self, engine: Engine, kinds: Sequence[str], count: int, seed: int) -> None:
        asked = [question for kind in kinds for question in gym.questions(kind, "test", count, seed)]
        self.chats: list[Any] = [[{"role": "user", "content": question.prompt}] for question in asked]
        self.questions = {tuple(engine.encode(chat)): each for chat, each in zip(self.chats, asked, strict=True)}

    def right(self, prompt: tuple[int, ...], text: str) -> bool:
        """Whether a text answers the question of that prompt."""
        question = self.questions[prompt]
        return gym.task(question.kind).check(question, text)


@dataclass(frozen=True, slots=True)
class Checker(Scorer):
    """1 where the prompt's question is answered rightly, else 0."""

    book: Book

    name: ClassVar[str] = "checker"

    def begin(self, context: Context) -> Scoring:
        return _Checker(self.book)


@dataclass(frozen=True, slots=True)
class _Checker(Scoring):
    book: Book

    def full(self, drafts: Sequence[Draft]) -> list[float]:
        return [float(self.book.right(draft.prompt, draft.text)) for draft in drafts]


@dataclass(slots=True)
class Point:
    """One size of one search, on all questions."""

    size: float
    method: str  # in full
    right: float  # share of the questions
    counters: Counters  # of all answers
    seconds: float  # of the whole call, all questions side by side


@dataclass(slots=True)
class Curve:
    """One search by its size."""

    name: str
    judge: str  # heads, checker or none
    points: list[Point] = field(default_factory=list)


@dataclass(slots=True)
class Anytime(Stored):
    """Everything `stretto bench anytime` found."""

    COMMAND: ClassVar[str] = "stretto bench anytime"
    ENTRY: ClassVar[str] = "curves"

    questions: int
    curves: list[Curve] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Contestant:
    """A search of one knob: its sizes, what it is at one of them, and what else is set."""

    name: str
    judge: str  # heads, checker or none
    sizes: tuple[float, ...]
    method: Callable[[float], Any]  # a search, or the text of a method
    settings: Callable[[float], Mapping[str, Any]] = lambda size: {}


DRAWN: Mapping[str, Any] = {"temperature": 1.0}
NUMBERS = (1.0, 2.0, 4.0, 8.0, 16.0)


def contestants(book: Book) -> tuple[Contestant, ...]:
    """Those that are compared; the same sizes where the same is drawn."""
    value, reward, checker = Value("zoo/value"), Value("zoo/reward"), Checker(book)

    def drawn(size: float) -> Mapping[str, Any]:
        return DRAWN

    def steered(size: float) -> Mapping[str, Any]:
        return {**DRAWN, "steers": [Controlled("zoo/next", size)]}

    return (
        Contestant("greedy", "none", (1.0,), lambda n: "plain"),
        Contestant("beam", "none", (2.0, 4.0, 8.0), lambda n: f"beam({n:.0f})"),
        Contestant("best of n by likelihood", "none", NUMBERS, lambda n: BestOf(int(n)), drawn),
        Contestant("best of n", "heads", NUMBERS, lambda n: BestOf(int(n), reward), drawn),
        Contestant("blockwise", "heads", NUMBERS[1:4], lambda n: Blockwise(int(n), value, Every(8)), drawn),
        Contestant("guided", "heads", (4.0, 8.0), lambda n: Guided(int(n), int(n) // 2, value, Every(8)), drawn),
        Contestant("controlled by beta", "heads", (2.0, 5.0, 10.0, 20.0), lambda n: "plain", steered),
        Contestant("ppo-mcts", "heads", (4.0, 10.0), lambda n: PpoMcts(5, int(n), 1.0, value)),
        Contestant("transfer-q", "heads", (2.0, 3.0), lambda n: TransferQ(int(n), 5.0, 0, reward)),
        Contestant("vm-mcts", "heads", (1.0, 2.0, 4.0), lambda n: VmMcts(4, 3, int(n), 0.2, reward, Every(8)), drawn),
        Contestant("best of n", "checker", NUMBERS, lambda n: BestOf(int(n), checker), drawn),
        Contestant("pg-td", "checker", NUMBERS[1:], lambda n: PgTd(3, int(n), scorer=checker, enough=1.0)),
        Contestant(
            "vm-mcts", "checker", (1.0, 2.0, 4.0), lambda n: VmMcts(4, 3, int(n), 0.2, checker, Every(8), 1.0), drawn
        ),
    )


def measured(engine: Engine, book: Book, chosen: Sequence[Contestant], seed: int) -> Iterator[Curve]:
    """One curve after another; all questions of a point are answered side by side."""
    for contestant in chosen:
        curve = Curve(contestant.name, contestant.judge)
        for size in contestant.sizes:
            begun = perf_counter()
            found = engine.generate(
                book.chats,
                contestant.method(size),
                max_new_tokens=LONGEST,
                seed=seed,
                **contestant.settings(size),
            )
            curve.points.append(_point(size, found, book, perf_counter() - begun))
        yield curve


def _point(size: float, found: Sequence[Generation], book: Book, seconds: float) -> Point:
    counters = Counters()
    for answer in found:
        counters.add(answer.counters)
    right = sum(book.right(tuple(answer.prompt_tokens), answer.text) for answer in found)
    return Point(size, found[0].method, right / len(found), counters, seconds)


def cost(point: Point, name: str, questions: int) -> float:
    """Of one answer: seconds, or one of the counters; tokens with those of the scorer's model."""
    if name == "seconds":
        return point.seconds / questions
    total = getattr(point.counters, name)
    return float(total + (point.counters.scorer_tokens if name == "token_forwards" else 0)) / questions


def table(found: Anytime) -> str:
    """Lines of Markdown: a search and size each."""
    lines = ["| judge | search | size | right | tokens | scorer's tokens | forwards | scorer calls | s |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for curve in found.curves:
        for point in curve.points:
            counters = point.counters
            counts = (counters.token_forwards, counters.scorer_tokens, counters.row_forwards, counters.scorer_calls)
            costs = " | ".join(f"{count / found.questions:.0f}" for count in counts)
            lines.append(
                f"| {curve.judge} | {curve.name} | {point.size:g} | {point.right:.3f} | {costs} |"
                f" {point.seconds / found.questions:.2f} |"
            )
    return "\n".join([*lines, "", f"{found.questions} questions; {machine_line(found.provenance)}"])


def plot(found: Anytime, path: Path) -> None:
    """Write a PNG: right answers by each cost, a row for each kind of judge. Raises Unsupported without matplotlib."""
    judges = [judge for judge in ("heads", "checker") if any(curve.judge == judge for curve in found.curves)]
    drawing = pyplot()
    size = (12.0, 0.9 + 3.4 * len(judges))
    figure, axes = drawing.subplots(
        len(judges), len(COSTS), figsize=size, squeeze=False, layout="constrained", sharey=True
    )
    handles: dict[str, Any] = {}
    for line, judge in zip(axes, judges, strict=True):
        line[0].set_title(f"judged by {judge}", fontsize=10, loc="left", fontweight="bold")
        line[0].set_ylabel("answered rightly", fontsize=9)
        for axis, (name, words) in zip(line, COSTS.items(), strict=True):
            plainly(axis, grid="both")
            axis.set_xscale("log")
            axis.tick_params(axis="x", which="minor", labelbottom=False)
            axis.set_xlabel(f"{words}, an answer", fontsize=9)
            for number, curve in enumerate(found.curves):
                spots = [(cost(point, name, found.questions), point.right) for point in curve.points]
                if curve.judge in (judge, "none") and all(at > 0 for at, _ in spots):
                    colour = drawing.colormaps["tab20"](number)
                    (drawn,) = axis.plot(*zip(*spots, strict=True), marker="o", markersize=4, color=colour)
                    handles.setdefault(f"{curve.name} ({curve.judge})", drawn)
    headed(figure, f"right answers by what they take, {found.questions} questions\n{machine_line(found.provenance)}")
    style = {"fontsize": 8.5, "frameon": False, "ncols": 5, "loc": "outside lower center"}
    figure.legend(handles.values(), handles.keys(), **style)
    png(figure, path)
