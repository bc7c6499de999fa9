"""Tokens to text, piece by piece: no torn characters, stop strings cut exactly."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby

TORN = "\ufffd"  # what decoders write for the bytes of an unfinished character
CONTEXT = 6  # tokens of context that decoding a further token may depend on
TIDIED = re.compile(r"(?: n)?(?: ?'[vr]?)? ?$")  # an end that tidying of spaces may yet change: " ." is written "."


class Text:
    """The text of one row's new tokens as they come.

    It is the tokenizer's own decoding of prompt and answer together, after the prompt's; a character that the prompt
    leaves unfinished is the answer's once it is finished. Only what no later token can change is taken into `text`.

    `special` are the tokens that decoding leaves out, as a stop string writes them; `raw` are those that stand for one
    byte where decoders spoil the whole run of them if its bytes are no text in the end; `tidied`: spaces before marks
    are taken back. `ends` are tokens that end a row: judged for stop strings, and else no text.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        prompt: Sequence[int] = (),
        stop: Sequence[str] = (),
        *,
        special: Mapping[int, str] | None = None,
        raw: Mapping[int, int] | None = None,
        tidied: bool = False,
        ends: Collection[int] = (),
    ) -> None:
        self._decode = decode
        self._special = special or {}
        self._raw = raw or {}
        self._tidied = tidied
        self._ends = ends
        self._stops = Stops(stop, set(self._special.values()))
        self._shown = 0
        self._doubt = ""  # end of the prompt's text that the first tokens may change
        self.text = ""
        self.stopped = False
        self._heard = ""  # the end of what stop strings have read, within a run of bytes
        self._window = self._context(prompt)  # tokens that are decoded together: some context, then the newest
        self._begin_run()
        self._taken = self._prompt_length()  # characters of the window's text that are in `text`, or the prompt's

    def push(self, token: int) -> bool:
        """Take the next token; True when a stop string is complete. Nothing is taken after that."""
        self.extend([token])
        return self.stopped

    def extend(self, tokens: Sequence[int], *, last: bool = False) -> None:
        """Take several tokens at once; `last` lets go of an unfinished character as well."""
        for take, some in groupby(tokens, key=self._kind):
            if not self.stopped:
                take(list(some))
        if last and not self.stopped:
            self._settle(last=True)

    def release(self, *, last: bool = False) -> str:
        """Text not shown yet; what may turn out to begin a stop string is held back until it cannot."""
        end = len(self.text) - (0 if last or self.stopped else self._stops.held(self.text))
        piece = self.text[self._shown : end]
        self._shown = max(self._shown, end)
        return piece

    # -- taking tokens --------------------------------------------------------------------------

    def _kind(self, token: int) -> Callable[[list[int]], None]:
        if token in self._ends:
            return self._take_ends
        if token in self._special:
            return self._take_special
        return self._take_raw if token in self._raw else self._take_text

    def _take_text(self, tokens: list[int]) -> None:
        self._window += tokens
        self._settle()
        self._begin_run()

    def _take_raw(self, tokens: list[int]) -> None:
        """Bytes: their run is read as a whole when it has ended, and before that only by stop strings."""
        for token in tokens:
            self._window.append(token)
            new = self._run_text(token) if self._stops.reach else ""
            self._heard = (self._heard + new)[-self._stops.reach - len(new) :]
            if new and self._stops.found(self._heard, len(self._heard) - len(new)):
                self._judge(self._so_far(), len(self.text))
                if self.stopped:
                    return

    def _take_special(self, tokens: list[int]) -> None:
        for token in tokens if self._stops.marked else ():
            so_far = self._so_far()
            self._stops.marks.append((len(so_far), self._special[token]))
            self._judge(so_far, len(so_far))
            if self.stopped:
                return

    def _take_ends(self, tokens: list[int]) -> None:
        if tokens[0] in self._special:
            self._take_special(tokens[:1])
        elif self._stops.reach:
            self._judge(self._so_far(tokens[:1]), len(self.text))

    def _settle(self, *, last: bool = False) -> None:
        """Take what the window says and nothing later can change; leave the context only."""
        said = self._decode(self._window)
        end = len(said) - (0 if last else self._unfinished(said))
        new, shared = self._without_doubt(said[self._taken : end])
        if new or shared:
            self._doubt = "" if new else self._doubt[shared:]
        self._taken = max(self._taken, end)
        if len(self._window) > 2 * CONTEXT:
            self._window = self._window[-CONTEXT:]
            self._taken = max(0, len(self._decode(self._window)) - (len(said) - end))
        begin = len(self.text)
        self.text += new
        self._judge(self.text, begin)

    def _unfinished(self, said: str) -> int:
        """How many characters at the end may yet become others."""
        torn = not self._raw and said.endswith(TORN)
        tidied = TIDIED.search(said) if self._tidied else None
        return max(int(torn), len(tidied[0]) if tidied else 0)

    def _so_far(self, more: Sequence[int] = ()) -> str:
        """The text if nothing came any more."""
        new, _ = self._without_doubt(self._decode([*self._window, *more])[self._taken :])
        return self.text + new

    def _without_doubt(self, new: str) -> tuple[str, int]:
        """New text without what the prompt's end had of it, and how much that was."""
        pairs = zip(new, self._doubt, strict=False)
        shared = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(new), len(self._doubt)))
        return new[shared:], shared

    def _judge(self, text: str, begin: int) -> None:
        """Cut at the first stop string to be complete, where the text from `begin` on is new."""
        found = self._stops.found(text, begin)
        if found:
            self.text = text[: min(found)[1]]
            self.stopped = True

    # -- where the prompt ends, and runs of bytes -------------------------------------------------

    def _context(self, prompt: Sequence[int]) -> list[int]:
        """The prompt's last tokens: a run of bytes at its end whole, and the context before it."""
        window: list[int] = []
        missing = CONTEXT
        for token in reversed(prompt):
            if token not in self._special:
                window.append(token)
                missing -= missing < CONTEXT or token not in self._raw
                if not missing:
                    break
        return window[::-1]

    def _prompt_length(self) -> int:
        """Characters of the window's text that are the prompt's."""
        run = len(self._window)
        while run and self._window[run - 1] in self._raw:
            run -= 1
        for token in self._window[run:]:
            self._run_text(token)
        pending = 0 if self._utf8 is None else len(self._utf8.getstate()[0])  # bytes of an unfinished character
        said = self._decode(self._window[: len(self._window) - pending])
        end = len(said) - self._unfinished(said)
        self._doubt = said[end:]
        return end

    def _begin_run(self) -> None:
        self._utf8: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()  # None: no text
        self._heard = self.text[-self._stops.reach :] if self._stops.reach else ""

    def _run_text(self, token: int) -> str:
        """What one more byte of a run makes complete."""
        if self._utf8 is None:
            return ""
        try:
            return self._utf8.decode(bytes([self._raw[token]]))
        except UnicodeDecodeError:
            self._utf8 = None
            return ""


# -- stop strings -----------------------------------------------------------------------------------


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
        held = max((begun(text, stop) for stop in self.plain), default=0)
        if self.marked:
            written, places = self._written(text, max(0, len(text) - self.reach))
            held = max(held, len(text) - places[len(written) - max(begun(written, stop) for stop in self.marked)])
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


def begun(text: str, stop: str) -> int:
    """Length of the longest end of the text with which a stop string begins, but is not whole."""
    return next((length for length in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:length])), 0)
