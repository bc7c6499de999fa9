"""The way of a token is as the page on a request's life tells it, counted by following a call through the code."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import stretto
from stretto import zoo
from stretto.engine import Engine

HOME = Path(stretto.__file__).parent
PAGE = HOME.parents[1] / "docs" / "life-of-a-request.md"
MOST = {"plain": (39, 6450), "auto": (56, 9050)}  # files and lines that a call enters: what there are must not grow


@contextmanager
def entered() -> Iterator[set[str]]:
    """The files of the package whose functions are called meanwhile."""
    found: set[str] = set()

    def called(frame: Any, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(HOME)):
            found.add(Path(frame.f_code.co_filename).relative_to(HOME).as_posix())

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        yield found
    finally:
        sys.setprofile(before)


def named() -> set[str]:
    """The files that the page names as the road and as what it borrows."""
    road, borrowed = PAGE.read_text(encoding="utf-8").split("## Adding a part")[0].split("What these borrow")
    files = set(re.findall(r"^\d+\. `src/stretto/([\w/]+\.py)`", road, re.MULTILINE))
    assert len(files) == 14
    return files | set(re.findall(r"`([\w/]+\.py)`", borrowed))


@pytest.fixture(scope="module")
def engine() -> Engine:
    if "causal" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    return Engine.load("zoo/causal")


@pytest.mark.parametrize("method", MOST)
def test_the_way_of_a_token_is_no_longer_than_it_was(engine: Engine, method: str) -> None:
    engine.generate("Once upon a time", method, max_new_tokens=4)  # what is found out once is found out
    with entered() as files:
        engine.generate("Once upon a time", method, max_new_tokens=20)
    lines = sum(len((HOME / file).read_text(encoding="utf-8").splitlines()) for file in files)
    assert (len(files), lines) <= MOST[method] and lines <= MOST[method][1]
    if method == "plain":
        assert files == named()
