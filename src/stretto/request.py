"""How a prompt is to be answered: every setting of the choice, with its range, and nothing about the method."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from .aliases import FORMS, meant, ours
from .constrain.contract import Constraint
from .errors import InvalidRequest, ModelError
from .foreign import Stopping, criteria, processors
from .models.control_vector import ControlVector
from .parts import kind_of, read_part
from .row import Stopper
from .steer.allow import Allow
from .steer.ban import Ban, MinTokens
from .steer.bias import Bias
from .steer.contract import Steer
from .steer.epsilon import Epsilon, Eta
from .steer.frequency import Frequency
from .steer.min_p import MinP
from .steer.no_repeat import NoRepeat
from .steer.pipeline import Pipeline
from .steer.repetition import Repetition
from .steer.temperature import Temperature
from .steer.top_k import TopK
from .steer.top_p import TopP
from .steer.typical import Typical
from .steer.vector import Vector, vector_of
from .values import Checked

BY_ONE_SETTING: dict[str, Callable[[Any], Steer]] = {
    "repetition_penalty": Repetition,
    "no_repeat_ngram": NoRepeat,
    "top_k": TopK,
    "top_p": TopP,
    "min_p": MinP,
    "typical_p": Typical,
    "epsilon": Epsilon,
    "eta": Eta,
}

NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(metaclass=Checked):
    """Settings of one call; the neutral value stands beside each. Raises InvalidRequest for what it does not take."""

    max_new_tokens: int = 256  # ≥ 1; also bounded by the model's positions
    min_new_tokens: int = 0  # end tokens are banned before that many
    temperature: float = 0.0  # 0 is greedy; 1 the model's own distribution
    top_k: int = 0  # keep the k best; 0: all
    top_p: float = 1.0  # (0, 1]; keep the fewest tokens of this mass
    min_p: float = 0.0  # [0, 1]; keep tokens at least this times as likely as the best
    typical_p: float = 1.0  # (0, 1]; keep the most typical tokens of this mass
    epsilon: float = 0.0  # [0, 1); keep tokens of at least this probability
    eta: float = 0.0  # [0, 1); the same, lowered where the distribution is flat
    repetition_penalty: float = 1.0  # > 0; divides positive logits of tokens on the path
    frequency_penalty: float = 0.0  # logits lowered by this times the count in the output
    presence_penalty: float = 0.0  # logits lowered by this once a token is in the output
    no_repeat_ngram: int = 0  # no run of this many tokens twice; 0: off
    logit_bias: Mapping[int, float] = field(default_factory=dict)  # added to the logits of these tokens, -100 to 100
    banned_tokens: Iterable[int] = ()  # never chosen
    allowed_tokens: Iterable[int] = ()  # if any: only these
    end_tokens: Iterable[int] | None = None  # what ends an answer instead of the checkpoint's own; None: its own
    stop: str | Iterable[str] = ()  # strings that end the text; cut off exactly
    seed: int | None = 0  # of the noise, used when temperature > 0; None: a fresh one each time
    samples: int = 1  # answers per prompt, each with its own stream of noise
    defaults: Literal["stretto", "model"] = "stretto"  # whose, of what is not given; model: generation_config.json's
    steers: Iterable[str | Callable[..., Any]] = ()  # each a part such as 'top_a(0.2)', or a processor
    edits: Iterable[str | Path | ControlVector | Vector] = ()  # control vectors: files, or 'FILE:strength'
    constraint: str | Constraint | None = None  # a part such as 'regex("[a-z]+")', which every answer obeys
    stopping: Iterable[Callable[..., Any]] = ()  # functions (input ids [1, L], scores) -> whether to end
    log_probabilities: int | None = None  # report these, with so many of the best tokens beside; None: no

    @classmethod
    def of(cls, settings: Mapping[str, Any], checkpoint: Mapping[str, Any] = NONE) -> Request:
        """A request from settings by our names or others that mean the same. Raises InvalidRequest for any else.

        `checkpoint` has the settings that generation_config.json asks for; `defaults="model"` takes those that are not
        given. Raises ModelError where that file holds what no request takes.
        """
        if not settings.keys() <= NEUTRAL.keys():
            if FORMS & (settings := ours(settings)).keys():
                from .constrain.forms import constrained

                usual = checkpoint if settings.get("defaults") == "model" else NONE
                settings = constrained(settings, _constraint, {**NEUTRAL, **usual})
            if (unknown := next((name for name in settings if name not in NEUTRAL), None)) is not None:
                raise InvalidRequest(f"there is no setting {unknown!r}", hint=meant(unknown, NEUTRAL))
        wanted = settings.get("defaults")
        if isinstance(wanted, str) and wanted == "model":
            try:
                cls(**checkpoint)
            except InvalidRequest as error:
                raise ModelError(
                    f"generation_config.json: {error.message}", hint="mend the file, or use defaults='stretto'"
                ) from error
            settings = {**checkpoint, **settings}
        made: Request = cls(**settings)
        return made

    def __post_init__(self) -> None:
        put = object.__setattr__  # frozen: normalised once, here
        if isinstance(self.stop, str):
            put(self, "stop", (self.stop,) if self.stop else ())
        if self.seed is None:
            put(self, "seed", secrets.randbits(63))
        at_least = {"max_new_tokens": 1, "min_new_tokens": 0, "samples": 1}
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise InvalidRequest(f"{name} is {getattr(self, name)}", hint=f"{name} >= {least}")
        if self.log_probabilities is not None and self.log_probabilities < 0:
            raise InvalidRequest(f"log_probabilities is {self.log_probabilities}", hint="0 or more, or None for none")
        if any(not text for text in self.stop_strings):
            raise InvalidRequest("a stop string is empty", hint="leave it out, or name a character")
        put(self, "steers", tuple(steer for each in self.steers for steer in _steers(each)))
        put(self, "edits", tuple(map(vector_of, self.edits)))
        if isinstance(self.constraint, str):
            put(self, "constraint", _constraint(self.constraint))
        if self.stopping:
            put(self, "stopping", criteria(self.stopping))
        self.pipeline(frozenset())  # every steer checks its own range

    @property
    def noise(self) -> int:
        """The seed, a fresh one where none was given."""
        assert self.seed is not None, "it is drawn when the request is made"
        return self.seed

    @property
    def obeys(self) -> Constraint | None:
        """The constraint, however it was given."""
        assert not isinstance(self.constraint, str), "it is read when the request is made"
        return self.constraint

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """The stop strings as a tuple, however they were given."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    def stoppers(self, prompt: Sequence[int], text: Callable[[], Stopper]) -> Callable[[], Stopper] | None:
        """Makes what ends an answer beside its length and its end tokens; `text` what looks for stop strings."""
        strings = text if self.stop_strings else None
        if not self.stopping:
            return strings
        return lambda: Stopping(prompt, tuple(self.stopping), None if strings is None else strings())

    def check(self, vocabulary: int) -> None:
        """Raise InvalidRequest where a setting names a token outside of the vocabulary."""
        named = [*self.logit_bias, *self.banned_tokens, *self.allowed_tokens, *(self.end_tokens or ())]
        wrong = next((token for token in named if not 0 <= token < vocabulary), None)
        if wrong is not None:
            raise InvalidRequest(f"token {wrong} is outside of the vocabulary", hint=f"0 <= token < {vocabulary}")
        if len(set(self.banned_tokens)) >= vocabulary:
            raise InvalidRequest("every token is banned", hint="leave at least one")

    def pipeline(self, end_tokens: frozenset[int], steers: Sequence[Steer] = ()) -> Pipeline:
        """The steers of this request and those of its method, without those whose settings are neutral.

        Those of one stage work in this order: settings, `steers` (the method's), the request's own. Raises
        InvalidRequest where a setting and a steer are the same.
        """
        given = [*steers, *(steer for steer in (*self.edits, *self.steers) if isinstance(steer, Steer))]
        named = {steer.name for steer in given}
        made = self._made(end_tokens)
        if not self.temperature and Temperature.name in named:
            made = [steer for steer in made if steer.name != Temperature.name]
        if twice := next((steer.name for steer in made if steer.name in named), None):
            raise InvalidRequest(f"{twice} is given as a setting and as a steer", hint="give it once")
        return Pipeline([*made, *given])

    def _made(self, end_tokens: frozenset[int]) -> list[Steer]:
        """The steers that the settings ask for."""
        steers = [steer(getattr(self, name)) for name, steer in BY_ONE_SETTING.items() if self._changed(name)]
        if self._changed("frequency_penalty") or self._changed("presence_penalty"):
            steers.append(Frequency(self.frequency_penalty, self.presence_penalty))
        if self.logit_bias:
            steers.append(Bias(tuple(self.logit_bias.items())))
        if self.banned_tokens:
            steers.append(Ban(frozenset(self.banned_tokens)))
        if self.allowed_tokens:
            steers.append(Allow(frozenset(self.allowed_tokens)))
        if self.min_new_tokens:
            steers.append(MinTokens(end_tokens, self.min_new_tokens))
        return [Temperature(self.temperature), *steers]

    def _changed(self, name: str) -> bool:
        return bool(getattr(self, name) != NEUTRAL[name])


def _steers(value: str | Callable[..., Any]) -> list[Steer]:
    """Steers of what is given: one by value, one by its text, processors of another library."""
    if isinstance(value, str):
        if kind_of(value) not in ("", Steer.kind):
            raise InvalidRequest(f"{value!r} is a part of methods, no steer", hint=f"name it there: method={value!r}")
        value = read_part(value)
    return [value] if isinstance(value, Steer) else processors([value])


def _constraint(text: str) -> Constraint:
    """A constraint by its text."""
    part = read_part(text)
    if not isinstance(part, Constraint):
        raise InvalidRequest(f"{text!r} is a {part.kind}, no constraint", hint="for example 'regex(\"[a-z]+\")'")
    return part


NEUTRAL: dict[str, Any] = {field.name: field.default for field in fields(Request)}
