"""What a decode hands back: text, tokens, statistics, and the trace of how they came about."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from .calls import Calling
from .errors import StrettoError
from .files import require_writable, write_text

SHOWN = 60  # characters of the text in a `repr`
Finish = Literal["end", "stop", "length", "budget", "interrupt", "error"]


@dataclass(slots=True)
class Counters:
    """What a decode cost. Ratios of these are the same on every machine; seconds are not."""

    rounds: int = 0  # evaluations of the target after the prompt
    row_forwards: int = 0  # rows in those evaluations, summed
    token_forwards: int = 0  # real slots in those evaluations, summed; padding is not counted
    layer_token_forwards: int = 0  # the same times the layers that ran
    drafter_calls: int = 0  # proposals asked for
    drafted: int = 0  # nodes that were verified
    accepted: int = 0  # of those, nodes that were committed
    branches: int = 0  # candidate answers that a search began
    scorer_calls: int = 0  # answers or beginnings of answers that a search had judged
    scorer_tokens: int = 0  # tokens that a model of the scorer's own evaluated
    judged: int = 0  # times that a judge was asked, about a place or a token, where masks do not hold a schema alone
    shut_out: int = 0  # tokens that it shut out
    prompt_tokens: int = 0
    new_tokens: int = 0
    prompt_seconds: float = 0.0
    draft_seconds: float = 0.0  # part of `seconds`
    seconds: float = 0.0  # from the prompt's end to the last token

    def add(self, other: Counters) -> None:
        """Sum another decode's counters into these."""
        for name in Counters.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def tokens_per_round(self) -> float:
        """Committed tokens per evaluation of the target (block efficiency, τ)."""
        return self.new_tokens / self.row_forwards if self.row_forwards else 0.0

    @property
    def tokens_per_second(self) -> float:
        """New tokens per second after the prompt."""
        return self.new_tokens / self.seconds if self.seconds else 0.0


@dataclass(slots=True)
class Step:
    """One round of one row: what was drafted by whom, and what came of it."""

    position: int  # of the first token committed in this round, counted from the prompt's first
    committed: list[int]  # tokens, the accepted ones first
    sources: list[str]  # who guessed each committed token; "" for the model's own
    drafted: list[int] = field(default_factory=list)  # tokens of the verified nodes
    parents: list[int] = field(default_factory=list)  # their parents; -1 is the root
    drafters: list[str] = field(default_factory=list)  # their sources
    accepted: list[int] = field(default_factory=list)  # indices of the committed nodes
    seconds: float = 0.0  # of the whole round, shared with the other rows of the batch
    draft_seconds: float = 0.0
    # of models that fill positions in any order:
    positions: list[int] = field(default_factory=list)  # of the committed tokens; empty: they follow `position`
    remasked: list[int] = field(default_factory=list)  # positions that were opened again
    revised: list[int] = field(default_factory=list)  # positions that got another token
    confidence: list[float] = field(default_factory=list)  # raw probability of each committed token

    @property
    def places(self) -> list[int]:
        """The position of each committed token, counted from the prompt's first."""
        return self.positions or [self.position + at for at in range(len(self.committed))]


@dataclass(slots=True)
class LogProbability:
    """Two log-probabilities of one committed token, natural logarithm."""

    token: int
    raw: float  # under the model itself, temperature 1, nothing masked
    steered: float  # under the distribution really chosen from
    top_raw: list[tuple[int, float]] = field(default_factory=list)
    top_steered: list[tuple[int, float]] = field(default_factory=list)


class _Readable(Calling):
    """Holds what reads an answer's tokens, apart from its data: copies, pickles and `asdict` leave the tokenizer."""

    __slots__ = ("decode",)

    decode: Callable[[Sequence[int]], str] | None  # for notebooks

    def read_by(self, decode: Callable[[Sequence[int]], str] | None) -> None:
        """Let this show the tokens in notebooks; None: the text alone is shown."""
        self.decode = decode


@dataclass(slots=True)
class Generation(_Readable):
    """The answer to one prompt (one sample of it)."""

    text: str
    tokens: list[int]  # new tokens, without the prompt's; an end token is included
    finish: Finish
    prompt_tokens: list[int]
    counters: Counters = field(default_factory=Counters)
    steps: list[Step] = field(default_factory=list)
    log_probabilities: list[LogProbability] | None = None
    error: StrettoError | None = None  # set when this prompt of a batch could not be answered
    method: str = ""
    seed: int = 0  # of the noise: asked for again, it gives the same answer
    repeats: bool = True  # whether the same call, with the same seed, gives these tokens again
    guarantee: str = ""  # what holds between this answer and plain decoding's, in one line
    numbers: dict[str, Any] = field(default_factory=dict)  # how the model computed: dtype, kernels of the products, …

    def __post_init__(self) -> None:
        self.read_by(None)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        """One short line: how the text begins, how many tokens there are, how it ended."""
        if self.error is not None:
            return f"Generation(error={str(self.error)!r})"
        text = self.text if len(self.text) <= SHOWN else self.text[:SHOWN] + "…"
        return f"Generation({text!r}, {len(self.tokens)} tokens, finish={self.finish!r}, method={self.method!r})"

    def _repr_html_(self) -> str:
        """What notebooks show: the text, coloured by who guessed which token."""
        from .notebook import html

        return html(self, self.decode)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the tokenizer behind `decode`, which stays where it is."""
        return {name: getattr(self, name) for name in Generation.__slots__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in (state | {"decode": None}).items():
            setattr(self, name, value)

    def record(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        return {
            "method": self.method,
            "seed": self.seed,
            "repeats": self.repeats,
            "guarantee": self.guarantee,
            "numbers": self.numbers,
            "finish": self.finish,
            "error": None if self.error is None else str(self.error),
            "text": self.text,
            "prompt_tokens": self.prompt_tokens,
            "tokens": self.tokens,
            "counters": asdict(self.counters),
            "steps": [asdict(step) for step in self.steps],
            "log_probabilities": self.log_probabilities and [asdict(entry) for entry in self.log_probabilities],
        }

    def save_trace(self, path: str | Path) -> None:
        """Write tokens, steps, log-probabilities and counters as JSON; a file that is there stays whole until then.

        Raises InvalidRequest where no file can be written.
        """
        require_writable(Path(path))
        write_text(path, json.dumps(self.record(), indent=1, ensure_ascii=False) + "\n")
