"""Contestants: whoever answers a group of cases."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

from .. import method as methods
from ..engine import Engine
from ..entry import Guarantee
from ..generation import Counters, Generation
from ..method import Method
from ..models.contract import Model
from ..speculate.drafters.model import DraftModel
from .replay import Replayed, followers
from .rounds import Round, of_steps


@dataclass(frozen=True, slots=True)
class Draw:
    """How tokens are chosen."""

    temperature: float = 0.0  # ≥ 0; 0 is greedy
    seed: int = 0  # of our noise: the same text in every repeat
    repeat: int = 0  # transformers draws anew in each
    stream: Hashable = ()  # what parts remember from one answer to the next stays within it, and within the repeat


GREEDILY = Draw()


@dataclass(frozen=True, slots=True)
class Case:
    """One prompt as token ids, and what every contestant must answer (where answers are judged: a right one)."""

    prompt: list[int]
    expected: list[int]  # new tokens, the end token included where the answer has one
    forced: bool  # replay: choices are forced to `expected`
    question: int | None = None  # its number in a published set of questions
    category: str = ""
    turn: int = 0  # of the conversation, from 0

    @property
    def text(self) -> list[int]:
        """Prompt and answer."""
        return [*self.prompt, *self.expected]


def no_rounds() -> list[list[Round]]:
    """Of a contestant that cannot be looked into."""
    return []


@dataclass(frozen=True, slots=True)
class Answer:
    """What a contestant made of a group."""

    tokens: list[list[int]]  # new tokens of each case
    counters: Counters  # of all cases together
    rounds: Callable[[], list[list[Round]]] = no_rounds  # of each case; worked out when asked for, which is not timed
    texts: Sequence[str] = ()  # of each case, as a reader sees it; empty where only tokens count


class Contestant(Protocol):
    """A contestant. `prepare` is not timed, `answer` is."""

    @property
    def name(self) -> str:
        """As it stands in tables; unique among the contestants."""

    @property
    def ours(self) -> bool:
        """Whether it is stretto that answers."""

    @property
    def learns(self) -> bool:
        """Whether it may remember texts from one answer to the next."""

    def prepare(self, cases: Sequence[Case], draw: Draw = GREEDILY) -> None:
        """Whatever is not part of answering: set the texts to force."""

    def answer(self, cases: Sequence[Case]) -> Answer:
        """Answer the group, its cases side by side where the contestant can."""

    def bound(self, case: Case, draw: Draw) -> bool:
        """Whether it must write what the case expects, to the last token; else it writes a text of its own."""


class Engines:
    """Engines of one model for each stream and repeat.

    Parts may learn from every text they see, so that a text seen before is no measure of them. Each of these engines
    answers each prompt once; what it remembers comes from other prompts.
    """

    def __init__(self, first: Engine) -> None:
        self._first = first
        self._twins: dict[Hashable, Engine] = {}

    def of(self, draw: Draw) -> Engine:
        """The one for this draw's stream, temperature and repeat."""
        stream = (draw.stream, draw.temperature, draw.repeat)
        if stream not in self._twins:
            self._twins[stream] = twin(self._first)
        return self._twins[stream]


class Writing:
    """stretto by one method, writing what it will."""

    ours = True
    learns = True

    def __init__(self, name: str, engine: Engine, method: Method, max_new_tokens: int) -> None:
        self.name = name
        self._engines = Engines(engine)
        self._engine = engine
        self._method = method
        self._max_new_tokens = max_new_tokens
        self._draw = GREEDILY

    def prepare(self, cases: Sequence[Case], draw: Draw = GREEDILY) -> None:
        """Take the engine of this draw."""
        self._draw = draw
        self._engine = self._engines.of(draw)

    def answer(self, cases: Sequence[Case]) -> Answer:
        """One call for the whole group."""
        found = self._engine.generate(
            [case.prompt for case in cases],
            self._method,
            max_new_tokens=self._max_new_tokens,
            temperature=self._draw.temperature,
            seed=self._draw.seed,
        )
        return answered(found)

    def bound(self, case: Case, draw: Draw) -> bool:
        """By its guarantee; a forced choice leaves nothing to chance."""
        guarantee = self._method.guarantee
        certain = case.forced or not draw.temperature
        return guarantee is Guarantee.EXACT or (guarantee is Guarantee.DISTRIBUTION and certain)


class Ours(Writing):
    """The same, made to write what the cases expect where they are forced."""

    def __init__(self, name: str, engine: Engine, model: Replayed, method: Method, max_new_tokens: int) -> None:
        super().__init__(name, engine, method, max_new_tokens)
        self._model = model

    def prepare(self, cases: Sequence[Case], draw: Draw = GREEDILY) -> None:
        """Force the engine's model, where the cases are replayed."""
        super().prepare(cases, draw)
        texts = [case.text for case in cases]
        table = followers(texts, self._model.device) if cases[0].forced else None
        self._model.follow(table, draw.temperature)


def answered(found: Sequence[Generation]) -> Answer:
    """Our answer to a group. Raises what one of them failed with."""
    counters = Counters()
    for generation in found:
        if generation.error is not None:
            raise generation.error
        counters.add(generation.counters)
    tokens, texts = [generation.tokens for generation in found], [generation.text for generation in found]
    return Answer(tokens, counters, lambda: [of_steps(generation.steps) for generation in found], texts)


def twin(engine: Engine) -> Engine:
    """An engine of the same model that remembers nothing."""
    made = Engine(engine.model, engine.tokenizer, clock=engine.clock)
    made.end_tokens = engine.end_tokens
    return made


def with_models(
    text: str, target: Model, draft: tuple[str, Model] | None = None, load: Callable[[str], Model] | None = None
) -> Method:
    """The method of that text form for a target, with models in place of their names, also in parts of parts.

    `draft` is a loaded model and its name; it stands for the default of all drafters as well. What else is named is
    loaded by `load`, here: not while time is taken, nor once for each engine.
    """
    method = methods.complete(methods.parse(text), target)
    given = {} if draft is None else dict.fromkeys((draft[0], str(Path(draft[0])), DraftModel().model), draft[1])

    def model(name: str) -> Any:
        return given[name] if name in given else name if load is None else load(name)

    return replace(method, **{field.name: _loaded(getattr(method, field.name), model) for field in fields(method)})


def _loaded(value: Any, model: Callable[[str], Any]) -> Any:
    """A part, or a tuple of parts, with models in place of names; anything else as it is."""
    if isinstance(value, tuple):
        return tuple(_loaded(each, model) for each in value)
    if not hasattr(type(value), "kind"):
        return value
    held = {field.name: getattr(value, field.name) for field in fields(value)}
    named = {field.name for field in fields(value) if "Model" in str(field.type)}
    new = {
        name: model(old) if name in named and isinstance(old, str) else _loaded(old, model)
        for name, old in held.items()
    }
    changed = {name: found for name, found in new.items() if found is not held[name] and found != held[name]}
    return replace(value, **changed) if changed else value
