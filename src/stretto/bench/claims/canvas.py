"""Contests of methods that fill masks: gym questions answered side by side on canvases of one size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from statistics import fmean
from typing import Any

from ... import gym
from ...engine import Engine
from ...generation import Counters, Generation
from ...gym import Question
from ...models.clock import SimulatedClock
from ...models.contract import Model
from ...train.measure import BASELINES
from ..contestants import answered
from ..subject import encode
from ..tasks import Exercise
from .contract import Absent, Figures
from .lab import Lab

SHORT = ("sql", "python_function", "copy_edit", "sudoku")  # kinds most of whose answers fit on the canvas
CANVAS = 32  # positions
COUNT = 6  # questions of each kind
DRAWN = 40  # questions looked at for each that is wanted: those whose answer does not fit are passed over
ONE = BASELINES[False]  # one position a step, the surest first, everything computed
QUICK = "threshold+blocks(32)+end-of-text"  # the same with a threshold
RIGHT = "share of gym questions answered rightly"
CLOSE = 0.9  # of the baseline's share right: of this few questions two


@dataclass(slots=True)
class Filled:
    """What came of one method on all of its questions."""

    questions: list[Question]
    answers: list[Generation]
    counters: Counters = field(init=False)  # of all answers

    def __post_init__(self) -> None:
        self.counters = answered(self.answers).counters

    @property
    def right(self) -> float:
        """Share of the questions."""
        judged = zip(self.questions, self.answers, strict=True)
        return self.share(gym.task(question.kind).check(question, answer.text) for question, answer in judged)

    @property
    def early_ends(self) -> float:
        """Share of end tokens in the first half of what was filled."""
        shares = []
        for answer in self.answers:
            filled = [token for step in answer.steps for token in step.committed]
            first = filled[: len(filled) // 2]
            shares.append(first.count(answer.tokens[-1]) / max(1, len(first)) if answer.finish == "end" else 0.0)
        return fmean(shares)

    def share(self, counts: Iterator[bool]) -> float:
        """Of the answers for which something is so."""
        return sum(counts) / len(self.answers)

    def each(self, counter: str) -> float:
        """A counter's mean over the answers."""
        return float(getattr(self.counters, counter)) / len(self.answers)

    def like(self, other: Filled) -> float:
        """Share of the answers whose text is that of another method's."""
        both = zip(self.answers, other.answers, strict=True)
        return self.share(mine.text == theirs.text for mine, theirs in both)

    def tokens_like(self, other: Filled) -> float:
        """Share of the tokens that are those of another method's answers, place by place."""
        pairs = [(mine.tokens, theirs.tokens) for mine, theirs in zip(self.answers, other.answers, strict=True)]
        same = sum(a == b for mine, theirs in pairs for a, b in zip(mine, theirs, strict=False))
        return same / max(1, sum(max(map(len, pair)) for pair in pairs))


Of = Callable[[Filled, Filled], float]  # of a side; the second is the first side
MEASURES: dict[str, Of] = {
    "right": lambda side, first: side.right,
    "rounds": lambda side, first: side.each("rounds"),
    "rounds a token": lambda side, first: side.counters.rounds / max(1, side.counters.new_tokens),
    "token-forwards": lambda side, first: side.each("token_forwards"),
    "layer-token-forwards": lambda side, first: side.each("layer_token_forwards"),
    "empty": lambda side, first: side.share(not answer.text.strip() for answer in side.answers),
    "early ends": lambda side, first: side.early_ends,
    "as the first": lambda side, first: side.like(first),
    "tokens as the first": lambda side, first: side.tokens_like(first),
}


def written_down(model: Model) -> Engine:
    """Of a model that is a table."""
    return Engine(model, clock=SimulatedClock())


def prompt_of(engine: Engine, question: Question) -> list[int]:
    """Its token ids, as a chat where the model knows how to hold one."""
    return encode(engine, Exercise(question.prompt))


@dataclass(frozen=True, slots=True)
class Work:
    """Questions, and the canvas they are answered on."""

    kinds: tuple[str, ...] = SHORT
    canvas: int = CANVAS
    count: int = COUNT  # of each kind
    model: str = "masked"  # or block
    fitting: int = 0  # positions on which the right answer and its end token have room; 0: the canvas
    split: gym.Split = "test"

    def __str__(self) -> str:
        names = ", ".join(f"gym:{kind}" for kind in self.kinds)
        return f"{names}; {self.count} of each, canvases of {self.canvas}, {self.model} twin"

    def questions(self, lab: Lab) -> list[Question]:
        """The first of each kind whose right answer has room. Raises Absent where there is none."""
        count, encode = lab.count or self.count, lab.filler(self.model).codec.encode_piece
        found: list[Question] = []
        for kind in self.kinds:
            drawn = gym.questions(kind, self.split, DRAWN * count, lab.seed)
            found += islice((each for each in drawn if len(encode(each.answer)) < (self.fitting or self.canvas)), count)
        if not found:
            raise Absent(f"no answer has room on {self.fitting or self.canvas} positions", hint="another tokenizer")
        return found

    def by(self, lab: Lab, text: str, **settings: Any) -> Filled:
        """All questions answered side by side by one method, greedily unless settings say otherwise; once."""
        key = (self, text, *sorted(settings.items()))
        if key not in lab.filled:
            engine, asked = lab.filler(self.model), self.questions(lab)
            settings = {"max_new_tokens": self.canvas, "seed": lab.seed} | settings
            answers = engine.generate([prompt_of(engine, each) for each in asked], lab.fill(text), **settings)
            assert isinstance(answers, list)
            lab.filled[key] = Filled(asked, answers)
        found = lab.filled[key]
        assert isinstance(found, Filled)
        return found


@dataclass(frozen=True, slots=True)
class Filling:
    """Methods on the same questions; each figure is a measure of one of them, "rounds, NAME"."""

    sides: Mapping[str, str]  # name in the figures -> text form; {store …} is made on the way
    measures: tuple[str, ...] = ("right", "rounds")
    work: Work = Work()

    @property
    def text(self) -> str:
        """Sides and work."""
        sides = "; ".join(f"{name}: `{text}`" for name, text in self.sides.items())
        return f"{sides} on {self.work}; T=0"

    def __call__(self, lab: Lab) -> Figures:
        """All measures of all sides."""
        found = {name: self.work.by(lab, text) for name, text in self.sides.items()}
        return told(found, self.measures)


def told(found: Mapping[str, Filled], measures: Sequence[str]) -> Figures:
    """Figures by "measure, name". Raises Absent where quality is asked for, and nobody is ever right."""
    if "right" in measures and not any(side.right for side in found.values()):
        raise Absent("none of the questions is answered rightly", hint="more of them: --count; or a better model")
    first = next(iter(found.values()))
    return {f"{each}, {name}": MEASURES[each](side, first) for each in measures for name, side in found.items()}
