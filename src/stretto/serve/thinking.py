"""What a model thinks before its answer, told apart as it comes."""

from __future__ import annotations

from ..pieces import begun

OPEN, CLOSE = "<think>", "</think>"


class Thinking:
    """What stands between `<think>` and `</think>` at the beginning of an answer, and what follows, without the marks.

    White space beside the marks belongs to neither. In whichever pieces an answer comes, it is told the same.

    >>> thinking = Thinking()
    >>> thinking.feed("<think>So"), thinking.feed(" it is.\\n</thi"), thinking.feed("nk>\\n\\nOwl.")
    (('So', ''), (' it is.', ''), ('', 'Owl.'))
    >>> thinking.end()
    ('', '')
    """

    def __init__(self, *, opened: bool = False) -> None:
        """`opened`: the prompt ended with `<think>`."""
        self._inside: bool | None = True if opened else None  # None: not known yet
        self._held = ""
        self._said = False  # a character that is no white space, since the last mark

    def feed(self, text: str) -> tuple[str, str]:
        """Take some more of the answer; returns what is thought for sure, and what is answer for sure."""
        self._held += text
        if self._inside is None:
            bare = self._held.lstrip()
            if bare.startswith(OPEN):
                self._inside, self._held = True, bare[len(OPEN) :]
            elif OPEN.startswith(bare):
                return "", ""
            else:
                self._inside, self._said = False, True
        thought = self._think() if self._inside else ""
        return thought, "" if self._inside else self._answer()

    def end(self) -> tuple[str, str]:
        """The answer is over: the rest of both."""
        rest, self._held = self._held, ""
        return (rest.rstrip(), "") if self._inside else ("", rest)

    def _think(self) -> str:
        at = self._held.find(CLOSE)
        end = at if at >= 0 else len(self._held) - begun(self._held, CLOSE)
        piece = self._held[:end].rstrip()
        rest = self._held[len(piece) :]
        if not self._said:
            piece = piece.lstrip()
            self._said = bool(piece)
        self._held = rest
        if at >= 0:
            self._inside, self._said, self._held = False, False, rest.partition(CLOSE)[2]
        return piece

    def _answer(self) -> str:
        text, self._held = self._held, ""
        if not self._said:
            text = text.lstrip()
            self._said = bool(text)
        return text
