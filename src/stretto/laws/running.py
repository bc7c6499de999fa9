"""Runs trials under pytest, which is imported here and nowhere else in the package."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InvalidRequest

OWN = ("drafting", "steering", "inside", "filling", "decoding")  # modules whose asserts pytest explains


def run(files: Sequence[str], options: Sequence[str] = ()) -> int:
    """Try the parts of these files; `options` go to pytest. 0: all laws hold, 1: one does not.

    Raises InvalidRequest where there is no pytest, or a file holds nothing to try.
    """
    try:
        import pytest
    except ImportError as error:
        raise InvalidRequest("the laws are run by pytest, which is not installed", hint="pip install pytest") from error
    pytest.register_assert_rewrite(*(name for each in OWN if (name := f"{__package__}.{each}") not in sys.modules))
    from .trial import trials

    found = {name: trial for file in files for name, trial in trials(file).items()}

    class Trying:
        """Hands the trials to the one test there is."""

        def pytest_generate_tests(self, metafunc: Any) -> None:
            """Each trial once."""
            if "trial" in metafunc.fixturenames:
                metafunc.parametrize("trial", found.values(), ids=list(found))

    court = str(Path(__file__).with_name("court.py"))
    alone = ["-c", os.devnull, "--rootdir", str(Path(__file__).parent), "-p", "no:cacheprovider"]
    ended = int(pytest.main([court, *alone, "--import-mode=importlib", "-q", *options], plugins=[Trying()]))
    return ended if ended in (0, 1) else 2
