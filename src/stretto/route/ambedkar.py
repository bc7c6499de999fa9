"""AMBEDKAR: of a small model's best tokens, take the one whose probability changes least under a swapped prompt."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, ClassVar

import torch

from ..context import Context
from ..entry import Entry, Guarantee
from ..errors import InvalidRequest, Unsupported
from ..models.contract import Model
from ..models.store import Store
from ..row import Row
from ..steer.choice import choose
from ..steer.nodes import Nodes
from ..steer.path import Path
from ..steer.pipeline import Pipeline
from ..tree import Tree
from .contract import Route, Routing, Writing
from .reader import Reader, Reading, second_model

if TYPE_CHECKING:
    from torch import Tensor

ENTRY = Entry(
    name="ambedkar",
    family="route",
    source="arXiv 2509.02133; code github.com/bad2005/AMBEDKAR",
    parts="ambedkar(he:she,man:woman)",
    guarantee=Guarantee.NONE,
    number=112,
    needs=("small model", "pairs of words"),
    confirmed=False,
    summary="a large model keeps a small one to tokens that do not depend on who the prompt is about",
    generation="own model",
    refinement="tree",
    branch="none",
)

SMALL = "small"  # what the trace calls the model that proposes


@dataclass(frozen=True, slots=True)
class Ambedkar(Route):
    """The engine's own model verifies; a small one proposes its `candidates` best tokens, without chance.

    The candidate with the least D − `fluency` · ln q is taken: q is its probability under the small model, after
    bans and penalties, and D the Jensen-Shannon term of its probabilities a, b under the verifier after the prompt
    and after the prompt with the words swapped. Ties, and prompts without any of the words, go to the largest q; so
    does everything with a large `fluency`. With `fluency=0` (the published form is not certain) a candidate that
    both sides rule out has D near 0 and wins: hence the floors.
    """

    swaps: tuple[str, ...] = ()  # pairs of words, "he:she"; each word once
    small: str | Model = "zoo/draft"  # a name or folder, or a model that is loaded already
    candidates: int = 5  # ≥ 1
    fluency: float = 0.0  # λ ≥ 0
    least_q: float = 0.0  # [0, 1]; a candidate needs this q, or `least_a`; 0: not asked for
    least_a: float = 0.0  # [0, 1]; or this a; where no candidate has either, the one of the largest q

    name: ClassVar[str] = "ambedkar"

    def __post_init__(self) -> None:
        Swap.of(self.swaps)
        if self.candidates < 1:
            raise InvalidRequest(f"ambedkar chooses among {self.candidates} candidates", hint="candidates >= 1")
        if not (self.fluency >= 0 and math.isfinite(self.fluency)):
            raise InvalidRequest(f"ambedkar weighs fluency with {self.fluency}", hint="a finite number from 0")
        if not (0 <= self.least_q <= 1 and 0 <= self.least_a <= 1):
            raise InvalidRequest(
                f"ambedkar asks for probabilities of {self.least_q} and {self.least_a}", hint="both in [0, 1]"
            )

    def check(self, model: Model, pipeline: Pipeline) -> None:
        if not self.swaps:
            raise InvalidRequest("ambedkar has no words to swap", hint="name pairs: ambedkar(he:she,man:woman)")
        if not pipeline.greedy:
            raise Unsupported("ambedkar chooses by divergence, not by chance", hint="leave the temperature at 0")

    def begin(self, context: Context, cache: Store) -> Routing:
        return AmbedkarRouting(self, context, cache)


class AmbedkarRouting(Routing):
    """The small model reads each text once, the verifier twice: after the prompt and after the swapped one."""

    def __init__(self, settings: Ambedkar, context: Context, cache: Store) -> None:
        self.settings = settings
        vocabulary = context.target.vocabulary
        small = second_model(context, settings.small)
        self.verifier = Reader(context.target, cache, vocabulary)
        self.small = Reader(small, small.new_cache(), vocabulary)
        self.readings: dict[Row, tuple[Reading, Reading, Reading]] = {}  # small, verifier, verifier swapped
        self._swap = Swap.of(settings.swaps)
        self._encode, self._decode = context.encode, context.decode

    def open(self, row: Row) -> int:
        swapped = self._swapped(row.history.tokens)
        readings = self.small.open(row), self.verifier.open(row, row.cache_row), self.verifier.open(row, None, swapped)
        self.readings[row] = readings
        return min(self.small.room(readings[0]), *(self.verifier.room(reading) for reading in readings[1:]))

    def fork(self, row: Row, copy: Row) -> None:
        small, plain, swapped = self.readings[row]
        self.readings[copy] = (
            self.small.fork(small, copy),
            self.verifier.fork(plain, copy, copy.cache_row),
            self.verifier.fork(swapped, copy),
        )

    def texts(self, row: Row) -> Sequence[tuple[Reader, Reading]]:
        return list(zip((self.small, self.verifier, self.verifier), self.readings[row], strict=True))

    def close(self, row: Row) -> None:
        if row in self.readings:
            small, _, swapped = self.readings.pop(row)
            self.small.close(small)
            self.verifier.close(swapped)

    def settle(self, row: Row) -> None:
        """One token a round is always kept, and it is in no cache yet."""

    def write(self, rows: Sequence[Row]) -> list[Writing]:
        drafted = self.small.read([self.readings[row][0] for row in rows]).logits[:, 0]  # [B, V]
        steered = choose(Nodes([Path(row.history) for row in rows], drafted), [row.rule for row in rows]).steered
        both = [self.readings[row][side] for side in (1, 2) for row in rows]
        read = self.verifier.read(both)
        verified = read.logits[:, 0].double().softmax(-1)  # [2 B, V]
        count = len(rows)
        return [
            self._choose(
                drafted[at],
                steered[at],
                (verified[at], verified[count + at]),
                [read.slots[at], read.slots[count + at]],
            )
            for at in range(count)
        ]

    def _choose(self, raw: Tensor, steered: Tensor, sides: tuple[Tensor, Tensor], slots: list[int]) -> Writing:
        """The chosen candidate of one row: the small model's logits [V], the verifier's two distributions [V]."""
        logarithms = steered.double().log_softmax(-1)
        best = logarithms.topk(min(self.settings.candidates, len(steered)))
        possible = int((best.values > -torch.inf).sum())
        ids, q = best.indices[:possible], best.values[:possible]
        first, second = (side[ids] for side in sides)
        chosen = self._best(q.tolist(), first.tolist(), divergence(first, second).tolist())
        tree = Tree()
        for token, value in zip(ids.tolist(), q.exp().tolist(), strict=True):
            tree.add(token, source=SMALL, score=value)
        among = torch.full_like(steered, -torch.inf).index_copy(0, ids, steered[ids])
        return Writing(
            [tree.tokens[chosen]], [SMALL], [raw], [among], proposed=tree, accepted=[chosen], forwards=slots, calls=1
        )

    def _best(self, log_q: list[float], a: list[float], divergences: list[float]) -> int:
        """Of the candidates, best q first: the one to take."""
        settings = self.settings
        plausible = [
            at
            for at in range(len(a))
            if not (settings.least_q or settings.least_a)
            or (settings.least_q and math.exp(log_q[at]) >= settings.least_q)
            or (settings.least_a and a[at] >= settings.least_a)
        ]
        return min(plausible or [0], key=lambda at: divergences[at] - settings.fluency * log_q[at])

    def _swapped(self, tokens: Sequence[int]) -> list[int]:
        """The prompt with its words swapped; special tokens, and runs of text between them without any, stay."""
        if self._encode is None or self._decode is None:
            raise Unsupported("ambedkar swaps words, and here is no text", hint="decode through an Engine")
        decode, swapped = self._decode, []
        for special, run in groupby(tokens, key=lambda token: decode([token]) == ""):
            same = list(run)
            text = "" if special else decode(same)
            other = self._swap(text)
            swapped.extend(same if other == text else self._encode(other))
        return swapped


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """½ a ln(a / m) + ½ b ln(b / m), m = (a + b) / 2, for scalars a, b ≥ 0 side by side: [N], float64.

    No distance of distributions: each candidate's two probabilities are compared by themselves.
    """
    first, second = first.double(), second.double()
    middle = (first + second) / 2
    middle = middle.where(middle > 0, 1.0)
    terms: Tensor = torch.special.xlogy(first, first / middle) + torch.special.xlogy(second, second / middle)
    return terms / 2


@dataclass(frozen=True, slots=True)
class Swap:
    """Exchanges whole words in a text, keeping whether they are written as she, She or SHE. Its own inverse."""

    partners: Mapping[str, str]  # lower case

    @classmethod
    def of(cls, pairs: Sequence[str]) -> Swap:
        """From "he:she" and the like. Raises InvalidRequest where a pair is none, or a word is in two."""
        partners: dict[str, str] = {}
        for pair in pairs:
            words = [word.strip().lower() for word in str(pair).split(":")]
            if len(words) != 2 or not all(words):
                raise InvalidRequest(f"{pair!r} is no pair of words", hint="write it as he:she")
            if words[0] == words[1] or partners.keys() & set(words):
                raise InvalidRequest(
                    f"{pair!r} has a word that has a partner already",
                    hint="swapping twice must undo it: name each word once",
                )
            partners |= {words[0]: words[1], words[1]: words[0]}
        return cls(partners)

    def __call__(self, text: str) -> str:
        if not self.partners:
            return text
        longest_first = sorted(self.partners, key=len, reverse=True)
        words = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)
        return words.sub(lambda match: _like(match[0])(self.partners[match[0].lower()]), text)


def _like(word: str) -> Callable[[str], str]:
    """How the word is capitalised: as SHE, She, or she."""
    if word.isupper() and len(word) > 1:
        return str.upper
    return str.capitalize if word[0].isupper() else str
