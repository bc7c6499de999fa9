"""A suffix automaton: all substrings of a growing text, and where they ended."""

from __future__ import annotations

from collections.abc import Iterable

NONE = -1


class Automaton:
    """Blumer et al. (1985), extended token by token; a token costs constant time on average, however long the text.

    A state stands for substrings that end at the same places; the longest has `lengths[state]` tokens, the others are
    its ends that are longer than the longest of `links[state]`. State 0 is the empty string.
    """

    __slots__ = ("first_ends", "last", "late_ends", "lengths", "links", "nexts", "size")

    def __init__(self, tokens: Iterable[int] = ()) -> None:
        self.nexts: list[dict[int, int]] = [{}]  # token -> state
        self.links: list[int] = [NONE]
        self.lengths: list[int] = [0]
        self.first_ends: list[int] = [0]  # tokens of the text up to the end of the first occurrence
        self.late_ends: list[int] = [0]  # the same of a later one: the last at which no longer end was repeated
        self.last = 0  # the state of the whole text
        self.size = 0  # tokens
        for token in tokens:
            self.extend(token)

    def extend(self, token: int) -> None:
        """Append a token to the text."""
        nexts, links, lengths, ends = self.nexts, self.links, self.lengths, self.first_ends
        self.late_ends[self.repeated()] = self.size
        self.size += 1
        state, whole = self.last, len(lengths)
        lengths.append(self.size)
        ends.append(self.size)
        self.late_ends.append(self.size)
        nexts.append({})
        self.last = whole
        while state != NONE and token not in nexts[state]:
            nexts[state][token] = whole
            state = links[state]
        if state == NONE:
            links.append(0)
            return
        target = nexts[state][token]
        if lengths[state] + 1 == lengths[target]:
            links.append(target)
            return
        clone = whole + 1  # takes over those strings of `target` that now end at one place more
        lengths.append(lengths[state] + 1)
        ends.append(ends[target])
        self.late_ends.append(self.late_ends[target])
        nexts.append(nexts[target].copy())
        links.append(clone)
        links.append(links[target])
        links[target] = clone
        while state != NONE and nexts[state].get(token) == target:
            nexts[state][token] = clone
            state = links[state]

    def repeated(self) -> int:
        """The state of the longest end of the text that occurs earlier too; 0 where no token of it does.

        By what a link is: the text's own state holds the ends that are here only, its link the first that are not.
        """
        return max(0, self.links[self.last])

    def step(self, state: int, matched: int, token: int) -> tuple[int, int]:
        """Read on in another text: (state, length) of the longest end of it that occurs here, with one token more.

        Begins with (0, 0). The text may have grown since the last step.
        """
        nexts, links, lengths = self.nexts, self.links, self.lengths
        while matched and lengths[links[state]] >= matched:  # a clone has taken this end over
            state = links[state]
        while state and token not in nexts[state]:
            state = links[state]
            matched = lengths[state]
        following = nexts[state].get(token)
        return (0, 0) if following is None else (following, matched + 1)

    def copy(self) -> Automaton:
        """An independent one of the same text."""
        twin = Automaton.__new__(Automaton)
        twin.nexts = [table.copy() for table in self.nexts]
        twin.links, twin.lengths = self.links.copy(), self.lengths.copy()
        twin.first_ends, twin.late_ends = self.first_ends.copy(), self.late_ends.copy()
        twin.last, twin.size = self.last, self.size
        return twin
