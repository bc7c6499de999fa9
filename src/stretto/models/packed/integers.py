"""GPTQ and AWQ: matrices [I, O] of unsigned codes in words of 32 bits, a zero point and a scale for each group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from .codes import Codes, unpacked
from .contract import Parts, Unreadable

WORD = 32  # bits
WIDTHS = (2, 4, 8)  # bits of a code
ONES = {2: 0x55555555, 4: 0x11111111, 8: 0x01010101}  # 1 in each code of a word
ORDER = (0, 4, 1, 5, 2, 6, 3, 7)  # AWQ: which code of a word is that of its first output, of its second …


@dataclass(frozen=True)
class Gptq:
    """Words hold neighbouring inputs of an output; zero points neighbouring outputs.

    In the first version of the format zero points are stored less one. One of 0 then borrows from its neighbours where
    GPTQModel wrote it, so that 1 is added to whole words; others wrote such words otherwise.
    """

    less_one: bool
    borrows: bool  # whether zero points of 0 were written so that adding to words restores them

    marks: ClassVar[tuple[str, ...]] = ("qweight",)
    parts: ClassVar[frozenset[str]] = frozenset(("qweight", "qzeros", "scales", "g_idx"))
    beside: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Gptq:
        """As the configuration says. Raises Unreadable."""
        form = str(said.get("checkpoint_format") or said.get("format") or "gptq")
        if form not in ("gptq", "gptq_v2"):
            raise Unreadable(f"in the form {form} of GPTQ")
        for key in ("rotation", "adapter"):
            if said.get(key):
                raise Unreadable(f"by GPTQ with {key} {said[key]!r}")
        if said.get("pack_dtype", "int32") != "int32":
            raise Unreadable(f"by GPTQ in words of {said['pack_dtype']}")
        meta = said.get("meta")
        writer = str(meta.get("quantizer")) if isinstance(meta, Mapping) else ""
        return cls(form == "gptq", "gptqmodel" in writer)

    def matrix(self, parts: Parts) -> Codes:
        """Of qweight [I * bits / 32, O], qzeros [G, O * bits / 32], scales [G, O], g_idx [I]."""
        words, stored, scales = parts["qweight"], parts["qzeros"], parts["scales"]
        bits = _bits(stored.shape[1], scales.shape[1])
        if self.less_one:
            if not self.borrows and (unpacked(stored, bits) == (1 << bits) - 1).any():
                raise Unreadable("by GPTQ, first version, with zero points of 0, which nobody can read for certain")
            stored = stored + torch.tensor(ONES[bits], dtype=torch.int32)
        codes = unpacked(words.T, bits)
        zeros, scales = unpacked(stored, bits).T, scales.T
        return Codes(codes, zeros, scales, grouping(parts.get("g_idx"), codes.shape[1], scales.shape[1]))


@dataclass(frozen=True)
class Awq:
    """Words hold neighbouring outputs of an input, even ones first (the layout of its GEMM kernels)."""

    marks: ClassVar[tuple[str, ...]] = ("qweight",)
    parts: ClassVar[frozenset[str]] = frozenset(("qweight", "qzeros", "scales"))
    beside: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Awq:
        """As the configuration says. Raises Unreadable."""
        form = str(said.get("version") or said.get("format") or "gemm").lower()
        if form != "gemm":
            raise Unreadable(f"in the form {form} of AWQ")
        return cls()

    def matrix(self, parts: Parts) -> Codes:
        """Of qweight [I, O / 8], qzeros [G, O / 8], scales [G, O]."""
        words, scales = parts["qweight"], parts["scales"]
        if _bits(words.shape[1], scales.shape[1]) != 4:
            raise Unreadable("by AWQ in other than 4 bits")
        codes, zeros = (_in_order(unpacked(each, 4)) for each in (words, parts["qzeros"]))
        return Codes(codes.T.contiguous(), zeros.T, scales.T, grouping(None, len(codes), len(scales)))


def _in_order(codes: Tensor) -> Tensor:
    """Codes [N, O] of AWQ's words, from the first output to the last."""
    return codes.view(len(codes), -1, 8)[..., ORDER].flatten(1)


def _bits(words: int, codes: int) -> int:
    """Bits of a code, where so many stand in so many words."""
    bits = words * WORD // codes
    if bits not in WIDTHS or words * WORD != bits * codes:
        raise Unreadable(f"with {codes} codes in {words} words")
    return bits


def grouping(given: Tensor | None, inputs: int, groups: int) -> Tensor | None:
    """The group of each input [I] where they are not equal parts in order. Raises Unreadable."""
    if given is None or (given < 0).any():  # -1: not used
        if inputs % groups:
            raise Unreadable(f"with {inputs} inputs in {groups} groups")
        return None
    if given.shape != (inputs,) or given.max() >= groups:
        raise Unreadable("with inputs in groups that are not there")
    if not inputs % groups and torch.equal(given.long(), torch.arange(inputs) // (inputs // groups)):
        return None
    return given.long()
