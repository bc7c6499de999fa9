"""Files of any bytes, written with a model's next-token probabilities, and back bit by bit.

A file begins with what decides the bits: who wrote it, with which model and tokenizer, in which windows, and what the
model computes here of a few tokens, bit by bit. Who reads it computes the same, or is refused; a sum over the plain
bytes tells at the end whether they are those that were written. Then come blocks of texts, coded side by side.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import torch

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest, Unsupported
from ..models.contract import Model, Want, masking_of
from ..models.numbers import numbers_of
from ..models.reading import read
from ..score import first_token
from ..spelling import tokens_of
from .streams import Streams, Watch
from .symbols import cut, symbols

if TYPE_CHECKING:
    from ..engine import Engine

ENTRY = Entry(
    name="lm-arith",
    family="coding",
    source="arXiv 2309.10668 (language modeling is compression); the coder is range coding, G. N. N. Martin 1979",
    parts="",
    guarantee=Guarantee.NONE,
    summary="any bytes without loss, in as few bits as the model finds them likely",
    command="stretto compress FILE",
)

MAGIC = b"stretto\x01"  # the last byte: the form of the file, and how it is coded
TEXT = 16 << 10  # bytes of a text at most: each begins anew
SIDE = 64  # texts' worth of bytes in a block
MOST = 2 * SIDE  # texts of a block: where white space is found early, they are shorter
WINDOW, CONTEXT = 512, 256  # tokens
TRIED = 96  # tokens on which it is tried whether the same bits are computed
TOLD = 8  # of the last logits there, by which another model is told from other kernels
NEAR = 0.05  # how far these may lie apart
KINDS = {"model": str, "tokenizer": str, "window": int, "context": int, "bits": str, "logits": list}  # of the facts
AGAIN = "fetch the file again"


@dataclass(frozen=True, slots=True)
class Coding:
    """Compresses and expands by one engine's model, which must compute exact bits.

    The file says in which windows it was written; `window` and `context` are for writing.
    Raises Unsupported where the model does not compute exact bits, fills masks, or has no tokenizer.
    """

    engine: Engine
    window: int = WINDOW  # tokens that are read at a time, at most
    context: int = CONTEXT  # tokens, of these, that stood in the window before

    def __post_init__(self) -> None:
        model = self.engine.model
        if masking_of(model) is not None:
            raise Unsupported(f"{model.name} fills masks, and has no probability of a text", hint="use a causal model")
        if not numbers_of(model).bits:
            raise Unsupported(f"{model.name} may compute other bits in other windows", hint="load it with exact='bits'")

    def streams(self) -> Streams:
        """What codes single texts. Raises InvalidRequest where the model can't read such windows."""
        engine, most = self.engine, self.engine.model.max_positions
        if not 2 <= self.window <= most:
            raise InvalidRequest(f"window is {self.window}", hint=f"2 to {most} tokens")
        if not 0 <= self.context < self.window:
            raise InvalidRequest(
                f"context is {self.context}", hint=f"0 to {self.window - 1} tokens: less than a window"
            )
        tokens = tokens_of(engine.codec, engine.context(), engine.end_tokens)
        tokens.require_text("coding")
        return Streams(engine.model, tokens, first_token(engine.codec, engine.end_tokens), self.window, self.context)

    # -- writing ----------------------------------------------------------------------------------

    def write(self, source: BinaryIO, out: BinaryIO, watch: Watch = lambda done: None) -> None:
        """Compress all of `source`; a block is held in memory at a time."""
        streams = self.streams()
        special = self.engine.codec.reading.get("special", {}).values()
        head = json.dumps(self._facts(), ensure_ascii=True).encode()
        out.write(MAGIC + struct.pack(">I", len(head)) + head + struct.pack(">I", zlib.crc32(head)))
        sum_ = hashlib.sha256()
        while block := source.read(SIDE * TEXT):
            sum_.update(block)
            pieces = []
            for text in cut(block, TEXT):
                coded = streams.write(symbols(text, streams.tokens, special))
                pieces.append((len(text), coded if len(coded) < len(text) else text))
                watch(len(text))
            out.write(_packed(pieces))
        out.write(_packed([]) + sum_.digest())

    def _facts(self) -> dict[str, Any]:
        """What decides the bits."""
        model, codec = self.engine.model, self.engine.codec
        bits, told = computed(model)
        return {
            "model": Path(model.name).name,
            "tokenizer": codec.fingerprint(),
            "window": self.window,
            "context": self.context,
            "bits": bits,
            "logits": told,
        }

    # -- reading ----------------------------------------------------------------------------------

    def read(self, source: BinaryIO, out: BinaryIO, watch: Watch = lambda done: None) -> None:
        """Expand what `write` wrote; a block is held in memory at a time.

        Raises InvalidRequest where it is damaged, or no such file; Unsupported where it was written with another model,
        tokenizer or version, or where the model computes other bits here. What is in `out` then is not to be used.
        """
        streams = self._fitting(_head(source))
        sum_ = hashlib.sha256()
        while block := _block(source):
            coded = [(length, each) for length, each in block if len(each) < length]
            found = iter(streams.read([each for _, each in coded], [length for length, _ in coded], watch))
            for length, each in block:
                text = each if len(each) == length else next(found)
                sum_.update(text)
                out.write(text)
        if source.read(33) != sum_.digest():
            raise InvalidRequest("what came out is not what was written: the sum is another", hint=AGAIN)

    def _fitting(self, facts: dict[str, Any]) -> Streams:
        """Raises Unsupported where it does not fit."""
        mine, name = self._facts(), self.engine.model.name
        wrote = repr(facts["model"])
        if facts["tokenizer"] != mine["tokenizer"]:
            raise Unsupported(f"it was written with {wrote}, whose tokenizer is not {name}'s", hint=f"load {wrote}")
        if facts["bits"] != mine["bits"]:
            told = facts["logits"]
            if len(told) == TOLD and all(abs(a - b) <= NEAR for a, b in zip(told, mine["logits"], strict=True)):
                raise Unsupported(
                    f"{name} computes other bits here than where it was written",
                    hint="the same dtype, weights and versions, with reproducible=True",
                )
            raise Unsupported(f"it was written with {wrote}, and {name} is another model", hint=f"load {wrote}")
        return Coding(self.engine, facts["window"], facts["context"]).streams()


def compress(engine: Engine, data: bytes, *, window: int = WINDOW, context: int = CONTEXT) -> bytes:
    """Bytes in fewer bytes, by what the engine's model finds likely; raises as `Coding` does."""
    out = io.BytesIO()
    Coding(engine, window, context).write(io.BytesIO(data), out)
    return out.getvalue()


def expand(engine: Engine, data: bytes) -> bytes:
    """What was compressed; raises as `Coding` and its `read` do."""
    out = io.BytesIO()
    Coding(engine).read(io.BytesIO(data), out)
    return out.getvalue()


def computed(model: Model) -> tuple[str, list[float]]:
    """A sum over the bits of a model's logits of some tokens, and a few of the last ones."""
    size = min(TRIED, model.max_positions)
    tokens = [(at * 37 + 3) % model.vocabulary for at in range(size)]
    cache = model.new_cache(1, size)
    ((evaluation, _),) = read(model, cache, cache.open(), tokens, Want())
    assert evaluation.logits is not None
    logits = evaluation.logits[0].cpu()
    bits = hashlib.sha256(logits.contiguous().view(torch.uint8).numpy().tobytes())
    return bits.hexdigest(), [round(each, 3) for each in logits[-1, :TOLD].tolist()]


# -- the file -------------------------------------------------------------------------------------


def _head(source: BinaryIO) -> dict[str, Any]:
    """The facts. Raises InvalidRequest, or Unsupported for another version."""
    magic = source.read(len(MAGIC))
    if magic[:-1] != MAGIC[:-1]:
        raise InvalidRequest("this was not written by compress", hint="give a file that `stretto compress` wrote")
    if magic != MAGIC:
        raise Unsupported(f"its form is {magic[-1]}, and here is {MAGIC[-1]}", hint="use the version that wrote it")
    (size,) = struct.unpack(">I", _exactly(source, 4))
    if size > 1 << 16:
        raise InvalidRequest("its beginning is damaged", hint=AGAIN)
    head = _exactly(source, size)
    if struct.pack(">I", zlib.crc32(head)) != _exactly(source, 4):
        raise InvalidRequest("its beginning is damaged", hint=AGAIN)
    try:
        found: dict[str, Any] = json.loads(head)
        kinds = {name: type(found[name]) for name in KINDS}
        if kinds == KINDS and all(type(each) is float for each in found["logits"]):
            return found
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise InvalidRequest("its beginning is damaged", hint=AGAIN)


def _packed(pieces: list[tuple[int, bytes]]) -> bytes:
    """A block: how many texts, the lengths of each before and after, their bits, and a sum over all of that."""
    sizes = [size for length, coded in pieces for size in (length, len(coded))]
    content = struct.pack(f">H{len(sizes)}H", len(pieces), *sizes) + b"".join(coded for _, coded in pieces)
    return content + struct.pack(">I", zlib.crc32(content))


def _block(source: BinaryIO) -> list[tuple[int, bytes]]:
    """Length and bits of each text; none: that was the last. Raises InvalidRequest where it is damaged."""
    first = _exactly(source, 2)
    (count,) = struct.unpack(">H", first)
    if count > MOST:
        raise InvalidRequest("a part of it is damaged", hint=AGAIN)
    packed = _exactly(source, 4 * count)
    sizes = struct.unpack(f">{2 * count}H", packed)
    coded = [_exactly(source, size) for size in sizes[1::2]]
    content = first + packed + b"".join(coded)
    longer = any(after > before for before, after in zip(sizes[::2], sizes[1::2], strict=True))
    if longer or struct.pack(">I", zlib.crc32(content)) != _exactly(source, 4):
        raise InvalidRequest("a part of it is damaged", hint=AGAIN)
    return [*zip(sizes[::2], coded, strict=True)]


def _exactly(source: BinaryIO, size: int) -> bytes:
    found = source.read(size)
    if len(found) < size:
        raise InvalidRequest("it ends too early", hint=AGAIN)
    return found
