"""What drafting costs beside the target's forwards: proposing, accepting, bookkeeping; by width of the draft and length
of the text.

The drafters measured take no forwards of their own, so that whatever a step takes beyond the target's evaluation is
overhead. The text is forced (see replay.py), so that all of them decode the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import ClassVar

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ..engine import Engine
from ..generation import Generation
from ..gym.mixture import load_mixture
from ..models.cache import Cache
from ..models.contract import Evaluation, Model, Want
from ..models.window import Window
from .provenance import machine_line
from .replay import Replayed, followers
from .results import Spread
from .stored import Stored
from .subject import Subject, driven

Progress = Callable[[], object]

WIDTH = 32  # nodes of a draft
LEAST = 24  # of them that a step must have had to count
WIDE = ("lookup(matches=8)+fixed(32)", "suffix(factor=16,matches=4)+fixed(32)", "recycle+fixed(32)")
LONG = ("plain", "lookup", "suffix", "auto")
TOKENS = 8192
PARTS = 8  # of the long text
PROMPT = 64
WIDE_TOKENS = 512  # of the shorter text


class Timed(Replayed):
    """A forced model that tells how long each evaluation took."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.seconds: list[float] = []

    def evaluate(self, window: Window, cache: Cache, want: Want = Want()) -> Evaluation:
        """The model's own evaluation."""
        begun = perf_counter()
        evaluation = super().evaluate(window, cache, want)
        self.seconds.append(perf_counter() - begun)
        return evaluation


@dataclass(slots=True)
class Width:
    """Steps that verified many nodes."""

    method: str
    steps: int
    nodes: float  # in the mean
    share: float  # of a step's time that is not the evaluation
    microseconds: Spread  # of overhead a step


@dataclass(slots=True)
class Length:
    """Overhead along one long text."""

    method: str
    microseconds: list[float]  # a token, for each part of the text


@dataclass(slots=True)
class Overhead(Stored):
    """Everything `stretto bench overhead` found."""

    COMMAND: ClassVar[str] = "stretto bench overhead"
    ENTRY: ClassVar[str] = "lengths"

    tokens: int = TOKENS
    widths: list[Width] = field(default_factory=list)
    lengths: list[Length] = field(default_factory=list)


def widths(subject: Subject, methods: Iterable[str] = WIDE, *, progress: Progress = lambda: None) -> list[Width]:
    """The target itself, on drafts of up to `WIDTH` nodes."""
    found = []
    for method in methods:
        engine, model = _timed(subject, subject.engine.model)
        text = _text(engine, PROMPT + WIDE_TOKENS)
        _decode(engine, model, text[: PROMPT + 32], method)  # warm-up
        answer, evaluated = _decode(engine, model, text, method)
        wide = [
            (step.seconds, seconds, len(step.drafted))
            for step, seconds in zip(answer.steps, evaluated, strict=True)
            if len(step.drafted) >= LEAST
        ]
        total, inside = sum(whole for whole, _, _ in wide), sum(seconds for _, seconds, _ in wide)
        beside = [1e6 * (whole - seconds) for whole, seconds, _ in wide]
        nodes = sum(count for _, _, count in wide) / max(1, len(wide))
        if wide:
            found.append(Width(method, len(wide), nodes, 1 - inside / total, Spread.of(beside)))
        progress()
    return found


def lengths(
    subject: Subject, methods: Iterable[str] = LONG, tokens: int = TOKENS, *, progress: Progress = lambda: None
) -> list[Length]:
    """A small network of the target's vocabulary, with random weights and room for a long text: it is not measured."""
    config = LlamaConfig(
        vocab_size=subject.engine.model.vocabulary,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=tokens + 2 * PROMPT + 256,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = LlamaForCausalLM(config).eval().requires_grad_(False)
    small = driven(module)
    found = []
    for method in methods:
        engine, model = _timed(subject, small)
        text = _text(engine, PROMPT + tokens)
        answer, evaluated = _decode(engine, model, text, method)
        spent, written = [0.0] * PARTS, [0] * PARTS
        for step, seconds in zip(answer.steps, evaluated, strict=True):
            part = min(PARTS - 1, PARTS * (step.position - PROMPT) // tokens)
            spent[part] += step.seconds - seconds
            written[part] += len(step.committed)
        found.append(Length(method, [1e6 * s / max(1, w) for s, w in zip(spent, written, strict=True)]))
        progress()
    return found


def _timed(subject: Subject, inner: Model) -> tuple[Engine, Timed]:
    """A fresh engine around a timed model."""
    model = Timed(inner)
    engine = Engine(model, subject.engine.tokenizer, clock=subject.engine.clock)
    return engine, model


def _text(engine: Engine, tokens: int) -> list[int]:
    """So many tokens of program text, the standard library's."""
    text: list[int] = []
    for source in load_mixture(None).code:
        text += engine.codec.encode_piece(source)
        if len(text) >= tokens:
            break
    return text[:tokens]


def _decode(engine: Engine, model: Timed, text: Sequence[int], method: str) -> tuple[Generation, list[float]]:
    """The text forced after its first tokens: the answer, and the seconds of each step's evaluation."""
    model.follow(followers([text], model.device))
    model.seconds.clear()
    answer = engine.generate(list(text[:PROMPT]), method, max_new_tokens=len(text) - PROMPT, end_tokens=())
    model.follow(None)
    return answer, model.seconds[-len(answer.steps) :]


def table(found: Overhead) -> str:
    """The figures as text."""
    lines = [
        f"{found.provenance['settings']['model']}, {machine_line(found.provenance)}",
        "",
        f"steps with {LEAST} to {WIDTH} drafted nodes: what is not the target's evaluation",
    ]
    for width in found.widths:
        spread = width.microseconds
        lines.append(
            f"  {width.method:40}{width.steps:5} steps, {width.nodes:4.1f} nodes {100 * width.share:6.1f} % of a step, "
            f"{spread.median:.0f} µs ({spread.low:.0f}–{spread.high:.0f})"
        )
    part = found.tokens // PARTS
    ends = "".join(f"{part * (at + 1):8}" for at in range(PARTS))
    lines += ["", "the same in µs for each token of a long text, up to token", f"  {'':12}{ends}"]
    for length in found.lengths:
        lines.append(f"  {length.method:12}" + "".join(f"{value:8.0f}" for value in length.microseconds))
    return "\n".join(lines)
