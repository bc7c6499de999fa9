"""What steers remember along the path of one row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .contract import Steer


class States(Protocol):
    """The states of one steer on one row: at the end of the committed tokens, and along what is drafted beyond them."""

    def at(self, tokens: list[int], drafted: tuple[int, ...]) -> Any:
        """The state after the committed tokens, which only grow, and the drafted ones."""
        ...

    def fork(self) -> States:
        """The same for a row that has committed the same tokens."""
        ...


class Persistent:
    """States that are values: the next token makes a new one of each."""

    __slots__ = ("_done", "_drafted", "_steer")

    def __init__(self, steer: Steer, done: int, state: Any) -> None:
        self._steer = steer
        self._done = done  # tokens of the history that were stepped
        self._drafted: dict[tuple[int, ...], Any] = {(): state}

    def at(self, tokens: list[int], drafted: tuple[int, ...]) -> Any:
        """The state after the committed tokens and the drafted ones; each node of a tree is stepped once."""
        if self._done < len(tokens):
            self._drafted = {(): self._after(tuple(tokens[self._done :]))}
            self._done = len(tokens)
        return self._after(drafted)

    def _after(self, drafted: tuple[int, ...]) -> Any:
        known = len(drafted)
        while drafted[:known] not in self._drafted:
            known -= 1
        state = self._drafted[drafted[:known]]
        for end in range(known, len(drafted)):
            state = self._drafted[drafted[: end + 1]] = self._steer.step(state, drafted[end])
        return state

    def tell(self, drafted: tuple[int, ...], state: Any) -> None:
        """The state at a node that was asked for is another one from now on: see `Nodes.tell`."""
        self._drafted[drafted] = state

    def fork(self) -> Persistent:
        twin = Persistent(self._steer, self._done, None)
        twin._drafted = self._drafted.copy()
        return twin
