"""Stop strings: where they are complete in a text, and what may yet become one."""

from __future__ import annotations

from collections.abc import Collection, Sequence


class Stops:
    """The stop strings of one text. Those that spell special tokens are also looked for where these are written out."""

    def __init__(self, stop: Sequence[str], special: Collection[str] = ()) -> None:
        self.plain = tuple(stop)
        self.marked = tuple(each for each in stop if any(mark in each for mark in special))
        self.reach = max(map(len, stop), default=0)  # characters of the longest
        self.marks: list[tuple[int, str]] = []  # special tokens in the text: before which character, and which

    def found(self, text: str, begin: int) -> list[tuple[int, int]]:
        """Where those end and start that the text from `begin` on, which is new, makes complete."""
        first = max(0, begin - self.reach)
        starts = [(text.find(stop, max(0, begin - len(stop) + 1)), stop) for stop in self.plain]
        found = [(at + len(stop), at) for at, stop in starts if at >= 0]
        if self.marked and self.marks:
            written, places = self._written(text, first)
            starts = [(written.find(stop), stop) for stop in self.marked]
            found += [(places[at + len(stop)], places[at]) for at, stop in starts if at >= 0]
        return found

    def held(self, text: str) -> int:
        """Length of the longest end of the text with which a stop string begins."""
        held = max((_begun(text, stop) for stop in self.plain), default=0)
        if self.marked:
            written, places = self._written(text, max(0, len(text) - self.reach))
            begun = max(_begun(written, stop) for stop in self.marked)
            held = max(held, len(text) - places[len(written) - begun])
        return held

    def _written(self, text: str, begin: int) -> tuple[str, list[int]]:
        """The text from `begin` on with its special tokens, and which character of the text each one stands before."""
        written, places = "", []
        for at, mark in [(at, mark) for at, mark in self.marks if at >= begin] + [(len(text), "")]:
            shown = text[begin:at]
            places += [*range(begin, begin + len(shown)), *[at] * len(mark)]
            written += shown + mark
            begin = max(begin, at)
        return written, [*places, len(text)]


def _begun(text: str, stop: str) -> int:
    return next((length for length in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:length])), 0)
