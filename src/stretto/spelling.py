"""What the tokens of a model spell, byte by byte: for constraints."""

from __future__ import annotations

import json
from collections.abc import Iterator

from .constrain.contract import Constraint
from .constrain.tokens import Tokens
from .context import Context
from .errors import InvalidRequest, Unsupported
from .pieces import TORN
from .steer.constrained import Constrained
from .steer.pipeline import Pipeline
from .text import Codec


def tokens_of(codec: Codec, context: Context, ends: frozenset[int]) -> Tokens:
    """The tokens of the engine's model, where answers end with `ends`; one object for all that ask alike.

    Without a tokenizer they spell nothing. Raises Unsupported where texts are not what their tokens spell.
    """

    def spelt() -> Tokens:
        if codec.tokenizer is None:
            return Tokens([None] * context.vocabulary, ends, None)
        return Tokens(_pieces(codec, context.vocabulary), ends, codec.encode_piece)

    return context.remembered(Tokens, ends, spelt)


def constrained(pipeline: Pipeline, constraint: Constraint, tokens: Tokens, positions: int) -> Pipeline:
    """The pipeline with a constraint in its place, for a model that can read so many tokens.

    Raises InvalidRequest where no answer obeys it.
    """
    state = constraint.open(tokens)
    if not state.complete and not state.allowed().any():
        raise InvalidRequest(
            f"no token may begin an answer under {constraint.name}", hint="see which texts the tokenizer can write"
        )
    return Pipeline([*pipeline.steps, Constrained(constraint, tokens, positions)])


def _pieces(codec: Codec, vocabulary: int) -> list[bytes | None]:
    """What each token adds to a text [V]; None for special ones, for padding, and for what adds nothing."""
    reading = codec.reading
    if reading["tidied"]:
        raise Unsupported(
            "this tokenizer tidies spaces up, so that a text is not what its tokens spell",
            hint="load it with clean_up_tokenization_spaces=False",
        )
    return list(_byte_level(codec, vocabulary) if _is_byte_level(codec) else _by_decoding(codec, vocabulary))


def _is_byte_level(codec: Codec) -> bool:
    """Whether tokens are written in the letters that byte-level tokenizers have for bytes."""
    backend = getattr(codec.tokenizer, "backend_tokenizer", None)
    decoder = None if backend is None else json.loads(backend.to_str()).get("decoder")
    return isinstance(decoder, dict) and decoder.get("type") == "ByteLevel"


def _letters() -> dict[str, int]:
    """The letter of each byte, as GPT-2 has them: itself where it can be seen, else the next one free."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {chr(256 + at): byte for at, byte in enumerate(hidden)}


def _byte_level(codec: Codec, vocabulary: int) -> Iterator[bytes | None]:
    special, letters = codec.reading["special"], _letters()
    assert codec.tokenizer is not None
    added = {token: str(mark.content) for token, mark in codec.tokenizer.added_tokens_decoder.items()}
    for token, word in enumerate(codec.tokenizer.convert_ids_to_tokens(list(range(vocabulary)))):
        if token in special or not word:
            yield None
        elif token in added:
            yield added[token].encode()
        else:
            yield bytes(letters[letter] for letter in word) if letters.keys() >= set(word) else word.encode()


def _by_decoding(codec: Codec, vocabulary: int) -> Iterator[bytes | None]:
    """What decoding makes of each token behind a token of text, and the bytes that some stand for."""
    special, raw = codec.reading["special"], codec.reading["raw"]
    try:
        anchor = codec.encode_piece(":")[-1:]  # where text begins some tokenizers leave a space out
    except InvalidRequest:
        anchor = []
    before = codec.decode(anchor)
    for token in range(vocabulary):
        if token in raw:
            yield bytes([raw[token]])
            continue
        said = "" if token in special else codec.decode([*anchor, token])
        piece = said[len(before) :] if said.startswith(before) else ""
        yield None if not piece or TORN in piece else piece.encode()
