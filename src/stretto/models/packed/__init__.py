"""Weights that a checkpoint of transformers holds in few bits: GPTQ, AWQ, compressed-tensors, FP8.

`unpacked` turns the tensors of its files into weights: blocks that the kernels take as they are, or floats.
"""

from .contract import Packing
from .methods import packing_of, unpacked

__all__ = ["Packing", "packing_of", "unpacked"]
