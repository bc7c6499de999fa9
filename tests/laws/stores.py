"""Small datastores on disk, built once for all tests of a run."""

from __future__ import annotations

import atexit
import random
import shutil
import tempfile
from functools import cache
from pathlib import Path

from stretto.speculate.datastore import Document, build


@cache
def folder() -> Path:
    """Where they are; gone at the end of the run."""
    made = Path(tempfile.mkdtemp(prefix="stretto-stores-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


@cache
def even_store(vocabulary: int) -> str:
    """The path of a store in which all tokens are equally frequent."""
    path = folder() / f"even-{vocabulary}"
    build([Document("all", range(vocabulary))], path, vocabulary=vocabulary)
    return str(path)


@cache
def random_store(vocabulary: int, seed: int = 0) -> str:
    """The path of a store of random texts over a small vocabulary."""
    chance = random.Random(seed)
    texts = [chance.choices(range(vocabulary), k=chance.randrange(1, 40)) for _ in range(8)]
    path = folder() / f"random-{vocabulary}-{seed}"
    build([Document(str(at), text) for at, text in enumerate(texts)], path, vocabulary=vocabulary)
    return str(path)
