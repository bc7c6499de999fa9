"""A filter on disk, for tests of the order that needs one."""

from __future__ import annotations

import atexit
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from stretto.diffuse.filter import Filter

_FOLDER = TemporaryDirectory(prefix="stretto-filters-")
atexit.register(_FOLDER.cleanup)


def random_filter(width: int, seed: int = 0) -> Filter:
    generator = np.random.default_rng(seed)
    shapes = [(width, width), (width,), (width, width), (width,)]
    return Filter(*(generator.standard_normal(shape) for shape in shapes))


@cache
def filter_file(width: int, seed: int = 0) -> Path:
    path = Path(_FOLDER.name) / f"{width}-{seed}.npz"
    random_filter(width, seed).save(path)
    return path
