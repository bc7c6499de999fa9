"""Random combinations: drawn methods, settings and batches, and what must be equal for all of them.

A case is drawn from a seed and its number alone, so that any one can be looked at again. What is demanded of it:
- the same call twice gives the same answers, also from an engine that remembers nothing;
- each prompt of a batch gets the answer that it gets alone;
- where the method promises plain decoding's tokens, they are plain decoding's;
- whatever is refused is refused by a typed error.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from . import catalogue, gym
from . import method as methods
from .engine import Engine
from .entry import Guarantee
from .errors import StrettoError
from .family import families, family_of
from .models.contract import masking_of
from .models.numbers import TIE
from .request import Request
from .verify import agreement, scores_after

if TYPE_CHECKING:
    from .generation import Generation
    from .method import Method

DRAFT = "zoo/draft"  # what parts hold that hold another model
DEEPEST = 2  # parts within parts within parts
LONGEST_PROMPT = 48  # tokens
LENGTHS = (1, 2, 3, 7, 12, 20)  # tokens of an answer, at most
TRIES = 200  # draws of one part, or of one method, until its checks let it through
FILES = ("path", "file", "text")  # settings that name one
NUMBERS: dict[str, Sequence[float]] = {  # what is tried beside the default
    "int": (0, 1, 2, 3, 4, 5, 8, 13),
    "float": (0.0, 0.05, 0.1, 0.3, 0.5, 0.9, 0.99, 1.0, 2.0),
}

SETTINGS: dict[str, Sequence[Any]] = {  # of the choice; a case has a few of them
    "temperature": (0.7, 1.0, 1.0, 1.4),
    "top_k": (1, 3, 40),
    "top_p": (0.3, 0.9),
    "min_p": (0.02, 0.3),
    "typical_p": (0.3, 0.9),
    "epsilon": (0.01, 0.2),
    "eta": (0.01, 0.2),
    "repetition_penalty": (0.8, 1.3),
    "frequency_penalty": (-0.3, 0.5),
    "presence_penalty": (-0.3, 0.5),
    "no_repeat_ngram": (1, 2, 3),
    "min_new_tokens": (1, 5),
    "samples": (2, 3),
    "log_probabilities": (0, 2),
    "stop": ("e", "\n", ("the", " 1")),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One drawn request."""

    number: int
    method: str  # its text form
    prompts: list[list[int]]
    settings: dict[str, Any]

    def __str__(self) -> str:
        named = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return f"case {self.number}: {self.method!r} on {len(self.prompts)} prompts ({named})"


@dataclass(frozen=True, slots=True)
class Finding:
    """What did not hold."""

    case: Case
    what: str

    def __str__(self) -> str:
        return f"{self.case}: {self.what}"


@dataclass(slots=True)
class Tally:
    """What a run came to."""

    cases: int = 0
    tokens: int = 0  # compared with those of another decode
    ties: int = 0  # differences at two scores so near that float32 may swap them
    refused: Counter[str] = field(default_factory=Counter)  # by the message's first words
    methods: set[str] = field(default_factory=set)  # text forms that were served
    unsteady: int = 0  # served, with the word that the same call may give other tokens: not compared
    findings: list[Finding] = field(default_factory=list)

    def line(self) -> str:
        """All of it in one line."""
        return (
            f"{self.cases} cases, {len(self.methods)} methods, {sum(self.refused.values())} refused, "
            f"{self.unsteady} that promise no repetition, "
            f"{self.tokens:,} tokens compared, {self.ties} ties, {len(self.findings)} findings"
        )


def run(engine: Engine, numbers: Iterable[int], seed: int = 0, draft: str = DRAFT) -> Iterator[Tally]:
    """Try case after case; the tally after each, always the same object."""
    tally = Tally()
    for number in numbers:
        attempt(engine, draw(engine, number, seed, draft), tally)
        yield tally


# -- drawing ----------------------------------------------------------------------------------------


def draw(engine: Engine, number: int, seed: int = 0, draft: str = DRAFT) -> Case:
    """Case `number` of a seed for this engine: whatever was drawn before, always the same.

    Parts that hold another model hold `draft`, a folder or a name.
    """
    drawing = _Drawing(engine, draft, random.Random(f"{seed}/{number}"))
    method = next((found for _ in range(TRIES) if (found := drawing.method()) is not None), None)
    assert method is not None, "no method that fits this model was drawn"
    prompts = [drawing.prompt() for _ in range(drawing.chance.choice((1, 2, 3, 5)))]
    return Case(number, methods.describe(method), prompts, drawing.settings())


class _Undrawn(Exception):
    """A setting that nothing can be drawn for, such as a file."""


@dataclass(frozen=True, slots=True)
class _Drawing:
    """Draws what a case is made of."""

    engine: Engine
    draft: str
    chance: random.Random

    def method(self) -> Method | None:
        """A method for this model; None where the drawn parts do not fit together."""
        parts = [self.part(kind) for kind in self.kinds()]
        if None in parts:
            return None
        try:
            method = methods.parse("+".join(map(methods.describe_part, parts)))
            steered = Request().pipeline(frozenset(), method.steers)
            methods.check(methods.complete(method, self.engine.model), self.engine.model, steered)
        except StrettoError:
            return None
        return method

    def kinds(self) -> list[str]:
        """Of which kinds the parts of a method are."""
        steers = ["steer"] * self.chance.choice((0, 0, 0, 1, 2))
        masked = masking_of(self.engine.model) is not None
        drawn = self.chance.choice([draw for family in families() if family.masks is masked for draw in family.draws])
        more = self.chance.sample(drawn.more, self.chance.choice(drawn.counts)) if drawn.more else []
        return [*drawn.kinds, *more, *steers]

    def part(self, kind: str, depth: int = 0) -> Any:
        """A part of that kind with drawn settings; None where none came through its own checks."""
        masked = masking_of(self.engine.model) is not None
        named = sorted(
            name
            for name, part in catalogue.parts().items()
            if part.kind == kind and (kind != "steer" or not masked or part.pointwise)  # others are refused there
        )
        for _ in range(TRIES):
            part = catalogue.part(self.chance.choice(named))
            try:
                return part(**{each.name: self.value(part, each, depth) for each in fields(part) if each.init})
            except (StrettoError, _Undrawn):
                continue
        return None

    def value(self, part: Any, setting: Any, depth: int) -> Any:
        """A value for one setting of a part: its default as often as not."""
        default, kind = setting.default, str(setting.type)
        if "Drafter" in kind:
            return self.held(many="tuple" in kind, depth=depth)
        if kind.startswith("str | Model"):  # a head may stand there as well
            inside = "Layers" in kind and self.chance.random() < 0.3
            return (self.part("layers") if inside else None) or self.draft
        if default is MISSING or setting.name in FILES:
            raise _Undrawn
        if self.chance.random() < 0.5:
            return default
        if kind == "bool":
            return self.chance.random() < 0.5
        if kind in NUMBERS:
            return self.chance.choice((*NUMBERS[kind], default))
        if kind == "tuple[int, ...]" and default:
            return tuple(self.chance.choice((1, 2, 3)) for _ in range(self.chance.choice((1, 2, 3))))
        if kind.startswith("Literal"):
            return self.chance.choice(get_args(get_type_hints(part)[setting.name]))
        return default

    def held(self, *, many: bool, depth: int) -> Any:
        """Drafters within a drafter."""
        if depth == DEEPEST:
            raise _Undrawn
        parts = tuple(self.part("drafter", depth + 1) for _ in range(self.chance.choice((2, 3)) if many else 1))
        if None in parts:
            raise _Undrawn
        return parts if many else parts[0]

    def settings(self) -> dict[str, Any]:
        """Settings of a request: none or a few beside the length and the seed."""
        chance, vocabulary = self.chance, self.engine.model.vocabulary
        names = chance.sample(sorted(SETTINGS), chance.choice((0, 0, 1, 1, 2, 3, 5)))
        settings = {name: chance.choice(SETTINGS[name]) for name in names}
        if self.engine.tokenizer is None and "stop" in settings:  # its text are the ids
            settings["stop"] = str(chance.randrange(vocabulary))
        tokens = [chance.randrange(vocabulary) for _ in range(2)]
        if chance.random() < 0.15:
            settings["logit_bias"] = dict.fromkeys(tokens, chance.choice((-3.0, 4.0)))
        if chance.random() < 0.15:
            settings["banned_tokens"] = tokens
        if chance.random() < 0.15:
            settings["end_tokens"] = chance.sample(range(vocabulary), vocabulary // 8)
        return settings | {"max_new_tokens": chance.choice(LENGTHS), "seed": chance.randrange(1 << 32)}

    def prompt(self) -> list[int]:
        """Token ids: a piece of a question of the gym and its answer, or noise; some repeat themselves."""
        chance, masking = self.chance, masking_of(self.engine.model)
        size = chance.choice((1, 2, 5, 11, 23, LONGEST_PROMPT))
        tokens: list[int] = []
        if self.engine.tokenizer is not None and chance.random() < 0.7:
            question = gym.written(chance.choice(list(gym.tasks())), "test", str(chance.randrange(1000)))
            tokens = self.engine.codec.encode_piece(f"{question.prompt}\n{question.answer}")[:size]
        if not tokens:
            tokens = [chance.randrange(self.engine.model.vocabulary) for _ in range(size)]
        if masking is not None:  # masks would be holes, and the rest of the prompt the canvas
            tokens = [token for token in tokens if token != masking.mask] or [int(masking.mask == 0)]
        return tokens * 2 if chance.random() < 0.3 and 2 * len(tokens) <= LONGEST_PROMPT else tokens


# -- trying -----------------------------------------------------------------------------------------


def attempt(engine: Engine, case: Case, tally: Tally) -> None:
    """Try one case and write down what it came to."""
    tally.cases += 1
    judge = _Judge(engine, case, tally)
    try:
        together = judge.answers(engine, case.prompts)
    except StrettoError as error:
        tally.refused[" ".join(error.message.split()[:6])] += 1
        return
    except Exception as error:
        judge.found(f"{type(error).__name__}: {error}")
        return
    tally.methods.add(case.method)
    fresh = Engine(engine.model, engine.tokenizer, clock=engine.clock)
    fresh.end_tokens = engine.end_tokens
    if not all(answer.repeats for answer in together):
        tally.unsteady += 1  # what it answers depends on what was measured, and it says so
        return
    try:
        judge.equal("the same call again", together, judge.answers(engine, case.prompts))
        judge.equal("an engine that remembers nothing", together, judge.answers(fresh, case.prompts))
        for at, prompt in enumerate(case.prompts):
            mine = together[at * judge.samples : (at + 1) * judge.samples]
            judge.equal(f"prompt {at + 1} alone", mine, judge.answers(fresh, [prompt]))
        method = methods.parse(case.method)
        if exact(method, case.settings):
            judge.equal(
                "plain decoding",
                together,
                judge.answers(engine, case.prompts, methods.describe(methods.unaided(method))),
            )
    except Exception as error:  # also a typed one: what was served once must be served again
        judge.found(f"{type(error).__name__}: {error}; the batch was served before")


def exact(method: Method, settings: dict[str, Any]) -> bool:
    """Whether the method promises plain decoding's tokens under these settings."""
    if not family_of(type(method)).like_plain:
        return False
    greedy = not settings.get("temperature")
    return method.guarantee is Guarantee.EXACT or (method.guarantee is Guarantee.DISTRIBUTION and greedy)


@dataclass(frozen=True, slots=True)
class _Judge:
    """Asks for answers to one case and compares them."""

    engine: Engine
    case: Case
    tally: Tally

    @property
    def samples(self) -> int:
        """Answers to each prompt."""
        return int(self.case.settings.get("samples", 1))

    def answers(self, engine: Engine, prompts: list[list[int]], method: str = "") -> list[Generation]:
        """All samples of the first prompt, then of the second …"""
        return engine.generate(prompts, method or self.case.method, **self.case.settings)

    def found(self, what: str) -> None:
        """Write down what did not hold."""
        self.tally.findings.append(Finding(self.case, what))

    def equal(self, what: str, first: list[Generation], second: list[Generation]) -> None:
        """Write down a finding where two decodes of the same prompts differ by more than a tie."""
        for at, (one, two) in enumerate(zip(first, second, strict=True)):
            self.tally.tokens += len(one.tokens)
            if (one.tokens, one.finish, one.text) == (two.tokens, two.finish, two.text):
                continue
            position = agreement(one.tokens, two.tokens)
            if self.tie(one, two, position, at % self.samples):
                self.tally.ties += 1
                continue
            tokens = f"{one.tokens[position:][:3]} and {two.tokens[position:][:3]} after {position} tokens"
            ends = "" if one.finish == two.finish else f", {one.finish} and {two.finish}"
            self.found(f"{what}: answer {at + 1} differs, {tokens}{ends}")
            return

    def tie(self, one: Generation, two: Generation, position: int, stream: int) -> bool:
        """Whether both tokens chosen there were as good as the best, up to rounding in float32."""
        if masking_of(self.engine.model) is not None or position == min(len(one.tokens), len(two.tokens)):
            return False
        request = Request.of(self.case.settings)
        steers = methods.parse(self.case.method).steers
        scores = scores_after(
            self.engine,
            one.prompt_tokens,
            one.tokens[:position],
            request,
            stream=stream,
            steers=steers,
        )
        gap = scores.max() - scores[[one.tokens[position], two.tokens[position]]].min()
        return bool(gap < TIE)
