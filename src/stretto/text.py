"""Prompts to tokens, and tokens to text: what the engine asks of a tokenizer."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from .errors import InvalidRequest
from .messages import Chats, Conversation, Message
from .models.encoded import Shown
from .pieces import TORN, Text
from .values import check_text, plain, token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from .models.tokenizer import Tokenizer

Prompt = str | Sequence[int] | Sequence[Message] | Conversation | Shown  # text, ids, a chat; or with more


def is_one(prompt: Prompt | Sequence[Prompt]) -> bool:
    """Whether this is a single prompt: text, token ids, or a chat. Raises InvalidRequest where it is none.

    An array or tensor of one dimension is one prompt of ids; of two dimensions it is a prompt in each row.
    """
    if isinstance(prompt, str | Conversation | Shown):
        return True
    if (dimensions := getattr(prompt, "ndim", None)) is not None:
        if dimensions not in (1, 2):
            raise InvalidRequest(f"an array of {dimensions} dimensions is no prompt", hint="ids stand in one row")
        return bool(dimensions == 1)
    prompt = sequence(prompt)
    return len(prompt) > 0 and (isinstance(prompt[0], Mapping) or not _holds_more(prompt[0]))


def sequence(prompt: object) -> Sequence[Any]:
    """What holds ids, messages or prompts. Raises InvalidRequest where nothing does."""
    if not isinstance(prompt, Sequence) or isinstance(prompt, bytes | bytearray | memoryview):
        kind = type(prompt).__name__
        raise InvalidRequest(f"a {kind} is no prompt", hint="text, a list of ids, chat messages, or a list of these")
    return prompt


def _holds_more(item: object) -> bool:
    """Whether an item of a list is a prompt by itself, rather than a token id (or what should be one)."""
    return isinstance(item, Sequence | Conversation | Shown | InvalidRequest) or getattr(item, "ndim", 0) > 0


def fingerprint(tokenizer: Tokenizer) -> str:
    """Tells tokenizers apart by what their ids stand for."""
    ids = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return hashlib.sha256(repr(ids).encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Codec:
    """A model's tokenizer and chat template, or neither: then prompts are token ids."""

    def __init__(self, name: str, tokenizer: Tokenizer | None, reserved: Iterable[int] = ()) -> None:
        self.name = name  # of the model, for messages
        self.tokenizer = tokenizer
        self._reserved = frozenset(reserved)  # tokens with a meaning of their own to the model, such as masks
        self._fingerprint: str | None = None

    @property
    def has_template(self) -> bool:
        """Whether the checkpoint brings a chat template."""
        return self.tokenizer is not None and bool(self.tokenizer.chat_template)

    def whole(self) -> PreTrainedTokenizerBase | None:
        """transformers' tokenizer, which from now on is asked for everything, as it may be changed from outside."""
        self.tokenizer = getattr(self.tokenizer, "own", self.tokenizer)
        return self.tokenizer

    def fingerprint(self) -> str | None:
        """Of the tokenizer; None without one. Found when it is first asked for."""
        if self._fingerprint is None and self.tokenizer is not None:
            self._fingerprint = fingerprint(self.tokenizer)
        return self._fingerprint

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids. Raises InvalidRequest where there are none, or nothing to make them with.

        Control tokens that a text spells are control tokens; those that messages spell are text (`Conversation`).
        """
        if isinstance(prompt, str):
            tokens = self._encode(prompt)
        elif isinstance(prompt, Conversation):
            tokens = self.chats.encode(prompt)
        elif (held := sequence(plain(prompt))) and isinstance(held[0], Mapping):
            tokens = self.chats.encode(Conversation(cast(Sequence[Message], prompt)))
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
            return self._encode(text, add_special_tokens=False)
        try:
            return [int(word) for word in text.split()]
        except ValueError:
            self._tokenizer()  # raises
            raise

    def text(self, prompt: Sequence[int], stop: Sequence[str] = (), ends: Collection[int] = ()) -> Text:
        """An empty text that goes on after a prompt."""
        return Text(self.decode, prompt, stop, ends=ends, **self.reading)

    @cached_property
    def chats(self) -> Chats:
        """The tokenizer's chat templates. Raises InvalidRequest without a tokenizer, or without any."""
        if not self.has_template:
            raise InvalidRequest(f"{self.name} has no chat template", hint="give the prompt as plain text")
        return Chats(self.name, self._tokenizer(), self._reserved)

    @cached_property
    def reading(self) -> dict[str, Any]:
        """What `Text` has to know of the tokenizer."""
        if self.tokenizer is None:
            return {}
        added = getattr(self.tokenizer, "added_tokens_decoder", {})
        special = {token: str(mark.content) for token, mark in added.items() if mark.special}
        own = getattr(self.tokenizer, "backend_tokenizer", None)  # it does not build the whole vocabulary to answer
        number_of = self.tokenizer.get_vocab().get if own is None else own.token_to_id
        bytes_ = {number_of(f"<0x{byte:02X}>"): byte for byte in range(256)}
        raw = {token: byte for token, byte in bytes_.items() if token is not None}
        if not any(byte > 127 and TORN in self.decode([token]) for token, byte in raw.items()):
            raw = {}  # there are such tokens, but they are written as they are named
        return {
            "special": special,
            "raw": raw,
            "tidied": bool(getattr(self.tokenizer, "clean_up_tokenization_spaces", False)),
        }

    def _encode(self, text: str, **options: bool) -> list[int]:
        check_text(text)
        return cast(list[int], self._tokenizer().encode(text, **options))

    def _tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise InvalidRequest(f"{self.name} has no tokenizer", hint="give the prompt as token ids")
        return self.tokenizer
