"""Prompts to tokens, and tokens to text piece by piece: no torn characters, stop strings cut exactly."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from .errors import InvalidRequest
from .values import plain, token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, str]
Prompt = str | Sequence[int] | Sequence[Message]  # text, token ids, or chat messages with role and content

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


def is_one(prompt: Prompt | Sequence[Prompt]) -> bool:
    """Whether this is a single prompt: text, token ids, or chat messages. Raises InvalidRequest where it is none.

    An array or tensor of one dimension is one prompt of ids; of two dimensions it is a prompt in each row.
    """
    if isinstance(prompt, str):
        return True
    if (dimensions := getattr(prompt, "ndim", None)) is not None:
        if dimensions not in (1, 2):
            raise InvalidRequest(f"an array of {dimensions} dimensions is no prompt", hint="ids stand in one row")
        return bool(dimensions == 1)
    prompt = _sequence(prompt)
    return len(prompt) > 0 and (isinstance(prompt[0], Mapping) or not _holds_more(prompt[0]))


def _sequence(prompt: object) -> Sequence[Any]:
    """What holds ids, messages or prompts. Raises InvalidRequest where nothing does."""
    if not isinstance(prompt, Sequence) or isinstance(prompt, bytes | bytearray | memoryview):
        kind = type(prompt).__name__
        raise InvalidRequest(f"a {kind} is no prompt", hint="text, a list of ids, chat messages, or a list of these")
    return prompt


def _holds_more(item: object) -> bool:
    """Whether an item of a list is a prompt by itself, rather than a token id (or what should be one)."""
    return isinstance(item, Sequence) or getattr(item, "ndim", 0) > 0


def encodable(text: str) -> str:
    """The text itself. Raises InvalidRequest where it holds half a character, which no tokenizer takes."""
    half = next((at for at, letter in enumerate(text) if "\ud800" <= letter <= "\udfff"), None)
    if half is not None:
        raise InvalidRequest(
            f"the text holds half a character, {text[half]!r}, at place {half}",
            hint="read it as UTF-8; text.encode('utf-8', 'replace').decode() puts a question mark there",
        )
    return text


def fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Tells tokenizers apart by what their ids stand for."""
    ids = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return hashlib.sha256(repr(ids).encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Codec:
    """A model's tokenizer and chat template, or neither: then prompts are token ids."""

    def __init__(self, name: str, tokenizer: PreTrainedTokenizerBase | None) -> None:
        self.name = name  # of the model, for messages
        self.tokenizer = tokenizer
        self._fingerprint: str | None = None

    @property
    def has_template(self) -> bool:
        """Whether the checkpoint brings a chat template."""
        return self.tokenizer is not None and bool(self.tokenizer.chat_template)

    def fingerprint(self) -> str | None:
        """Of the tokenizer; None without one. Found when it is first asked for."""
        if self._fingerprint is None and self.tokenizer is not None:
            self._fingerprint = fingerprint(self.tokenizer)
        return self._fingerprint

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids. Raises InvalidRequest where there are none, or nothing to make them with."""
        if isinstance(prompt, str):
            tokens = cast(list[int], self._tokenizer().encode(encodable(prompt)))
        elif (held := _sequence(plain(prompt))) and isinstance(held[0], Mapping):
            tokens = self._apply_template(cast(Sequence[Message], prompt))
        else:
            tokens = token_ids(held)
        if not tokens:
            raise InvalidRequest("the prompt is empty", hint="give at least one token of text")
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """Text without special tokens; without a tokenizer, the ids."""
        if self.tokenizer is None:
            return " ".join(map(str, tokens))
        return cast(str, self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def encode_piece(self, text: str) -> list[int]:
        """Token ids of a piece of text, without special ones; without a tokenizer, of what `decode` writes."""
        if self.tokenizer is not None:
            return cast(list[int], self.tokenizer.encode(encodable(text), add_special_tokens=False))
        try:
            return [int(word) for word in text.split()]
        except ValueError:
            self._tokenizer()  # raises
            raise

    def text(self, prompt: Sequence[int], stop: Sequence[str] = ()) -> Text:
        """An empty text that goes on after a prompt."""
        return Text(self.decode, prompt, stop)

    def _tokenizer(self) -> PreTrainedTokenizerBase:
        if self.tokenizer is None:
            raise InvalidRequest(f"{self.name} has no tokenizer", hint="give the prompt as token ids")
        return self.tokenizer

    def _apply_template(self, messages: Sequence[Message]) -> list[int]:
        if not self.has_template:
            raise InvalidRequest(f"{self.name} has no chat template", hint="give the prompt as plain text")
        for message in messages:
            if not {"role", "content"} <= message.keys():
                raise InvalidRequest(
                    "a chat message lacks its role or content", hint='{"role": "user", "content": "…"}'
                )
        tokenizer = self._tokenizer()
        text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        return cast(list[int], tokenizer.encode(encodable(cast(str, text)), add_special_tokens=False))
