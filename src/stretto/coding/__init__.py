"""Bytes written without loss in as few bits as a model finds them likely: `compress` and `expand`."""

from .text import Coding, compress, expand

__all__ = ["Coding", "compress", "expand"]
