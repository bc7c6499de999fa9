"""What steers look at: the committed tokens of a row, and the path from there to a drafted node.

Everything that is looked up is indexed incrementally: a step costs what the step added, not what the text
has grown to. An index is built when it is first asked for, so a row without penalties pays for none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.pictures import Pictures
    from .contract import Steer
    from .states import States


class Scope(Enum):
    """Which part of a path counts."""

    PATH = "path"  # prompt and output, without a source that is read beside them
    OUTPUT = "output"  # what was generated


class _Counts:
    """How often each token occurs from a start on; kept as tensors, for all distinct tokens at once."""

    __slots__ = ("_amounts", "_done", "_ids", "amounts", "slots", "tokens")

    def __init__(self, start: int) -> None:
        self._done = start  # tokens of the history that are already counted
        self._ids: list[int] = []  # distinct tokens in order of first occurrence
        self._amounts: list[int] = []
        self.slots: dict[int, int] = {}  # token -> its index in the lists
        self.tokens = torch.zeros(0, dtype=torch.int64)  # [K], or longer: the first K are valid
        self.amounts = torch.zeros(0, dtype=torch.int64)

    def catch_up(self, tokens: list[int]) -> None:
        """Count what was committed since the last look."""
        if self._done == len(tokens):
            return
        touched: set[int] = set()
        for token in tokens[self._done :]:
            slot = self.slots.setdefault(token, len(self._ids))
            if slot == len(self._ids):
                self._ids.append(token)
                self._amounts.append(0)
            self._amounts[slot] += 1
            touched.add(slot)
        self._done = len(tokens)
        if len(self._ids) > len(self.tokens):  # grow by doubling, so that growing is free on average
            more = torch.zeros(max(64, 2 * len(self._ids)) - len(self.tokens), dtype=torch.int64)
            self.tokens = torch.cat([self.tokens, more])
            self.amounts = torch.cat([self.amounts, more])
        changed = torch.tensor(sorted(touched))
        self.tokens[changed] = torch.tensor([self._ids[slot] for slot in sorted(touched)])
        self.amounts[changed] = torch.tensor([self._amounts[slot] for slot in sorted(touched)])

    def count(self, token: int) -> int:
        slot = self.slots.get(token)
        return 0 if slot is None else self._amounts[slot]

    def distinct(self) -> tuple[Tensor, Tensor]:
        """Distinct tokens [K] and how often each occurs [K]; views, not to be written to."""
        return self.tokens[: len(self._ids)], self.amounts[: len(self._ids)]

    def fork(self) -> _Counts:
        twin = _Counts(self._done)
        twin._ids, twin._amounts, twin.slots = self._ids.copy(), self._amounts.copy(), self.slots.copy()
        twin.tokens, twin.amounts = self.tokens.clone(), self.amounts.clone()
        return twin


class _Followers:
    """Which tokens have followed each run of n - 1 tokens from a start on."""

    __slots__ = ("_done", "_size", "_start", "table")

    def __init__(self, size: int, start: int) -> None:
        self._size = size
        self._start = self._done = start
        self.table: dict[tuple[int, ...], tuple[int, ...]] = {}  # tuples, so that a fork is a shallow copy

    def catch_up(self, tokens: list[int]) -> None:
        """Enter the n-grams that end in what was committed since the last look."""
        before = self._size - 1
        for end in range(max(self._done, self._start + before), len(tokens)):
            run = tuple(tokens[end - before : end])
            known = self.table.get(run, ())
            if tokens[end] not in known:
                self.table[run] = (*known, tokens[end])
        self._done = len(tokens)

    def fork(self) -> _Followers:
        twin = _Followers(self._size, self._start)
        twin._done, twin.table = self._done, self.table.copy()
        return twin


class History:
    """The committed tokens of one row. It only grows; what is drafted lives in a `Path` beside it."""

    __slots__ = ("_counts", "_followers", "_states", "pictures", "prompt_length", "tokens")

    def __init__(self, prompt_tokens: Iterable[int], pictures: Pictures = ()) -> None:
        self.tokens: list[int] = list(prompt_tokens)
        self.pictures = pictures  # that stand in the prompt, in the place of tokens
        self.prompt_length = len(self.tokens)
        self._counts: dict[Scope, _Counts] = {}
        self._followers: dict[tuple[int, Scope], _Followers] = {}
        self._states: dict[Steer, States] = {}

    def __len__(self) -> int:
        return len(self.tokens)

    def extend(self, tokens: Iterable[int]) -> None:
        """Commit tokens."""
        self.tokens.extend(tokens)

    def fork(self) -> History:
        """An independent copy; prompt and output stay what they are."""
        twin = History(self.tokens, self.pictures)
        twin.prompt_length = self.prompt_length
        twin._counts = {scope: counts.fork() for scope, counts in self._counts.items()}
        twin._followers = {about: followers.fork() for about, followers in self._followers.items()}
        twin._states = {steer: states.fork() for steer, states in self._states.items()}
        return twin

    def before(self, length: int) -> History:
        """The history as it was when it held `length` tokens, no fewer than the prompt's; indexed anew."""
        twin = History(self.tokens[:length], self.pictures)
        twin.prompt_length = self.prompt_length
        return twin

    def start(self, scope: Scope) -> int:
        """Position of the first token in the scope."""
        return self.prompt_length if scope is Scope.OUTPUT else sum(len(each) for each in self.pictures if each.apart)

    def counts(self, scope: Scope) -> _Counts:
        """Occurrences of the committed tokens in the scope, up to date."""
        counts = self._counts.get(scope)
        if counts is None:
            counts = self._counts[scope] = _Counts(self.start(scope))
        counts.catch_up(self.tokens)
        return counts

    def followers(self, size: int, scope: Scope) -> dict[tuple[int, ...], tuple[int, ...]]:
        """Runs of `size` - 1 committed tokens in the scope -> the tokens that have followed; up to date."""
        followers = self._followers.get((size, scope))
        if followers is None:
            followers = self._followers[size, scope] = _Followers(size, self.start(scope))
        followers.catch_up(self.tokens)
        return followers.table

    def states(self, steer: Steer) -> States:
        """What keeps the steer's states along this row."""
        if steer not in self._states:
            self._states[steer] = steer.follow(tuple(self.tokens[: self.prompt_length]))
        return self._states[steer]

    def state(self, steer: Steer, drafted: tuple[int, ...]) -> Any:
        """What the steer has made of the committed tokens and the drafted ones after them: see `Steer.begin`."""
        return self.states(steer).at(self.tokens, drafted)


@dataclass(frozen=True, slots=True)
class Path:
    """The path to one node: the committed tokens, then the drafted ones down to the node itself.

    `len(path)` is the position of the token that is to be chosen there. Looking changes nothing. A path
    speaks of its history as it is now: make a new one after `History.extend`.
    """

    history: History
    drafted: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.history.tokens) + len(self.drafted)

    @property
    def output_length(self) -> int:
        """How many tokens the path has beyond the prompt."""
        return len(self) - self.history.prompt_length

    def last(self, size: int, scope: Scope = Scope.PATH) -> tuple[int, ...]:
        """The newest `size` tokens in the scope, oldest first; fewer where the scope holds fewer."""
        committed = self.history.tokens
        start = max(self.history.start(scope), len(self) - size)
        if start >= len(committed):
            return self.drafted[start - len(committed) :]
        return (*committed[start:], *self.drafted)

    def count(self, token: int, scope: Scope = Scope.OUTPUT) -> int:
        """How often the token occurs in the scope."""
        return self.history.counts(scope).count(token) + self.drafted.count(token)

    def followers(self, size: int, scope: Scope = Scope.PATH) -> set[int]:
        """The tokens that would complete a run of `size` tokens that the path already holds."""
        run = self.last(size - 1, scope)
        if len(run) < size - 1:
            return set()
        found = set(self.history.followers(size, scope).get(run, ()))
        # the runs that end in a drafted token are in no index: walk them
        recent = self.last(size - 1 + len(self.drafted), scope)
        for end in range(max(size - 1, len(recent) - len(self.drafted)), len(recent)):
            if recent[end - size + 1 : end] == run:
                found.add(recent[end])
        return found
