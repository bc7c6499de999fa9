"""What a network is read from, and what is raised where it cannot be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import nn


class Source(Protocol):
    """A causal network as transformers builds it, or one with the same names."""

    config: Any
    training: bool

    @property
    def base_model(self) -> Any:
        """Embedding, layers and final norm."""
        ...

    def get_output_embeddings(self) -> Any:
        """The head."""
        ...

    def modules(self) -> Iterable[nn.Module]:
        """All parts."""
        ...


class Unlike(Exception):
    """The module is not Llama-shaped; the message says where."""


def decoder_of(module: Source) -> Any:
    """Embedding, layers and final norm; of the text, where a module reads pictures or sounds as well."""
    own = getattr(module, "get_decoder", None)
    return module.base_model if own is None else own()
