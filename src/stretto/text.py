"""Tokens to text, piece by piece: no torn characters, and stop strings cut exactly, across token borders too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

TORN = "\ufffd"  # what decoders write for the bytes of an unfinished character
CONTEXT = 6  # tokens of context that decoding a further token may depend on


class Text:
    """The text of one row's new tokens as they come."""

    def __init__(
        self, decode: Callable[[Sequence[int]], str], prompt: Sequence[int] = (), stop: Sequence[str] = ()
    ) -> None:
        self._decode = decode
        self._tokens = list(prompt[-CONTEXT:])
        self._from = 0  # decoding starts here: enough context for spaces between words
        self._read = len(self._tokens)  # tokens before this are in `text`
        self._stop = tuple(stop)
        self._shown = 0
        self.text = ""
        self.stopped = False

    def push(self, token: int) -> bool:
        """Take the next token; True when a stop string is complete. Nothing is taken after that."""
        self.extend([token])
        return self.stopped

    def extend(self, tokens: Sequence[int], *, last: bool = False) -> None:
        """Take several tokens at once; `last` lets go of an unfinished character as well."""
        if self.stopped:
            return
        self._tokens.extend(tokens)
        before = self._decode(self._tokens[self._from : self._read])
        after = self._decode(self._tokens[self._from :])
        if after.endswith(TORN) and not last:
            return
        searched = max(0, len(self.text) - max(map(len, self._stop), default=0))
        self.text += after[len(before) :]
        self._from, self._read = max(self._from, self._read - CONTEXT), len(self._tokens)
        ends = [at for stop in self._stop if (at := self.text.find(stop, searched)) >= 0]
        if ends:
            self.text = self.text[: min(ends)]
            self.stopped = True

    def release(self, *, last: bool = False) -> str:
        """Text not shown yet; what may turn out to begin a stop string is held back until it cannot."""
        end = len(self.text) if last or self.stopped else len(self.text) - self._held()
        piece = self.text[self._shown : end]
        self._shown = max(self._shown, end)
        return piece

    def _held(self) -> int:
        """Length of the longest end of the text with which a stop string begins."""
        return max(
            (
                length
                for stop in self._stop
                for length in range(1, min(len(stop), len(self.text) + 1))
                if self.text.endswith(stop[:length])
            ),
            default=0,
        )
