"""The faults of `planted.py` can still be planted: each stands for one line of the source, and a law that there is."""

from __future__ import annotations

import ast

import pytest

from planted import FAULTS, ROOT, Fault


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.file)
def test_what_a_fault_changes_stands_in_the_source(fault: Fault) -> None:
    source = (ROOT / "src" / "stretto" / fault.file).read_text(encoding="utf-8")
    assert source.count(fault.right) == 1
    ast.parse(source.replace(fault.right, fault.wrong))
    assert all((ROOT / "tests" / word).is_file() for word in fault.law.split() if word.endswith(".py"))
