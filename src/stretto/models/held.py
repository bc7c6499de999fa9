"""Trained numbers beside a model's own: tensors by name, as one safetensors file, that compare by what they hold."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch

from ..errors import InvalidRequest, ModelError
from ..files import replacing

if TYPE_CHECKING:
    from torch import Tensor


class Held:
    """Tensors of float32 by name; a kind of them says which, and what shapes fit together."""

    names: tuple[str, ...]

    def __init__(self, tensors: Mapping[str, Any], name: str = "") -> None:
        """Raises InvalidRequest where one is missing, not known, not finite, or of a shape that fits nothing."""
        self.name = name or type(self).__name__.lower()
        if set(tensors) != set(self.names):
            raise InvalidRequest(
                f"{self.name} holds {', '.join(sorted(tensors)) or 'nothing'}", hint=f"it is {', '.join(self.names)}"
            )
        self.tensors = {each: torch.as_tensor(tensors[each]).detach().float().cpu().contiguous() for each in self.names}
        if not all(bool(each.isfinite().all()) for each in self.tensors.values()):
            raise InvalidRequest(f"{self.name} holds what is no number", hint="train it again")
        if not self.fits():
            shapes = ", ".join(f"{each} {tuple(tensor.shape)}" for each, tensor in self.tensors.items())
            raise InvalidRequest(f"{self.name} does not fit together: {shapes}", hint="train it again")
        held = hashlib.sha256()
        for each, tensor in self.tensors.items():
            held.update(f"{each}{tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
        self._digest = held.digest()

    def fits(self) -> bool:
        """Whether the shapes fit together."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._digest == getattr(other, "_digest", None)

    def __hash__(self) -> int:
        return hash(self._digest)

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    @classmethod
    def read(cls, file: str | Path) -> Self:
        """Of a safetensors file. Raises ModelError where it is not there, broken, or holds something else."""
        path = Path(file)
        if not path.is_file():
            raise ModelError(f"there is no file {path}", hint=f"a {cls.__name__.lower()} is a .safetensors file")
        kind: Any = cls  # mypy takes the hash of an instance for that of its class
        found: Self = _read(kind, path.resolve(), path.stat().st_mtime_ns)
        return found

    def write(self, file: str | Path) -> None:
        """To a safetensors file."""
        from safetensors.torch import save_file

        with replacing(file) as place:
            save_file(self.tensors, place)


@lru_cache(maxsize=16)
def _read(kind: Any, path: Path, changed: int) -> Any:
    """A file as it was at a time."""
    from .tensors import tensors_of

    try:
        return kind(tensors_of([path]), str(path))
    except InvalidRequest as error:
        raise ModelError(error.message, hint=error.hint) from error
