"""Which way a checkpoint is packed, by its quantization_config, and its tensors as weights of the network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from ...errors import ModelError, Unsupported
from ..quantised import Quantised
from .codes import Codes
from .compressed import Compressed
from .contract import Packing, Unreadable
from .floats import Fp8
from .integers import Awq, Gptq

METHODS: dict[str, Callable[[Mapping[str, Any]], Packing]] = {
    "gptq": Gptq.of,
    "awq": Awq.of,
    "compressed-tensors": Compressed.of,
    "fp8": Fp8.of,
    "fbgemm_fp8": Fp8.of,
}
HINT = "use a GGUF file of it, the checkpoint that it was made from, or one in " + ", ".join([*METHODS][:4])


def packing_of(said: Any, where: str) -> Packing | None:
    """How the matrices of a checkpoint are packed, of its quantization_config; None where it has none.

    Raises Unsupported where that is not known here.
    """
    if not said:
        return None
    given = said.get("quant_method") if isinstance(said, Mapping) else None
    method = str(given or "a method without a name")
    try:
        if method not in METHODS:
            raise Unreadable(f"by {method}, which only its own code reads")
        return METHODS[method](said)
    except Unreadable as error:
        raise Unsupported(f"the weights in {where} are packed {error}", hint=HINT) from error


def unpacked(
    held: Mapping[str, Tensor], packing: Packing, where: str, *, blocks: bool
) -> dict[str, Tensor | Quantised]:
    """Weights by name of the tensors in the files of a checkpoint.

    `blocks`: in blocks where these hold the numbers (see `Codes.blocks`), else in floats. Raises ModelError for a
    matrix that lacks a part, Unsupported for one that is packed otherwise than known here.
    """
    found: dict[str, Tensor | Quantised] = {}
    packed = _matrices(held, packing)
    taken = {f"{owner}.{part}" for owner, parts in packed.items() for part in parts}
    for name, tensor in held.items():
        if name in taken or name.rpartition(".")[2] in packing.beside:
            continue
        if not tensor.is_floating_point() or tensor.dtype.itemsize < 2:
            raise ModelError(f"{name} in {where} is of {tensor.dtype}, and has no scales", hint="is a shard missing?")
        found[name] = tensor
    for owner, parts in packed.items():
        try:
            matrix = packing.matrix(parts)
        except Unreadable as error:
            raise Unsupported(f"{owner} in {where} is packed {error}", hint=HINT) from error
        except (KeyError, IndexError, RuntimeError, ValueError) as error:  # torch has many for shapes that do not fit
            reason = f"the parts of {owner} in {where} do not fit: {' '.join(str(error).split())}"
            raise ModelError(reason, hint="copy the checkpoint again") from error
        found[f"{owner}.weight"] = _weight(matrix, blocks=blocks)
    return found


def _matrices(held: Mapping[str, Tensor], packing: Packing) -> dict[str, dict[str, Tensor]]:
    """The tensors of each packed matrix, by the name of its owner and their last names."""
    owners: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in held.items():
        owner, _, part = name.rpartition(".")
        if part in packing.parts:
            owners[owner][part] = tensor
    return {owner: parts for owner, parts in owners.items() if any(mark in parts for mark in packing.marks)}


def _weight(matrix: Codes | Tensor, *, blocks: bool) -> Tensor | Quantised:
    if isinstance(matrix, Tensor):
        return matrix
    made = matrix.blocks() if blocks else None
    return matrix.dense() if made is None else made
