"""Rounded vectors: how near they are, what is told of them, and what is refused."""

from __future__ import annotations

import pytest
import torch

from models.recurrence import Recurrence
from stretto.cli import main
from stretto.errors import InvalidRequest, Unsupported
from stretto.memory.codes import Steps
from stretto.memory.contract import read_store, stored
from stretto.memory.rounded import Rounded
from stretto.method import parse
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable, TableModel


def test_a_group_is_rounded_between_its_least_and_its_largest():
    code = Steps(2, 4)
    given = torch.tensor([0.0, 1.0, 2.0, 3.0, -5.0, -5.0])
    record = code.encode(given)
    assert record.shape == (code.width(6),) == (2 + 2 * 4,)
    assert code.decode(record, 6, torch.float32).tolist() == given.tolist()
    assert code.decode(code.encode(torch.tensor([0.0, 0.4, 2.6, 3.0])), 4, torch.float32).tolist() == [0, 0, 3, 3]


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_no_number_is_further_off_than_half_a_step(bits):
    given = torch.randn(3, 5, 7, 12, generator=torch.Generator().manual_seed(bits))
    code = Steps(bits, 5)
    found = code.decode(code.encode(given), 12, torch.float32)
    for first in (0, 5, 10):
        group = slice(first, min(12, first + 5))
        least, largest = given[..., group].amin(-1, keepdim=True), given[..., group].amax(-1, keepdim=True)
        half = (largest - least) / (2**bits - 1) / 2
        assert ((found - given)[..., group].abs() <= half + 2e-3 * (largest.abs() + least.abs())).all()
    alone = code.decode(code.encode(given[1, 2]), 12, torch.float32)
    assert torch.equal(alone, found[1, 2])


def test_what_is_asked_for_is_said_and_what_cannot_be_is_refused():
    assert read_store("int4-cache") == Rounded(4) == read_store("rounded")
    for wrong, error in {
        "rounded(3)": "8, 4 or 2",
        "rounded(4,group=0)": "0 channels",
        "lookup": "not a store",
    }.items():
        with pytest.raises(InvalidRequest, match=error):
            read_store(wrong)
    with pytest.raises(InvalidRequest, match="no store"):
        read_store("int5-cache")
    for wrong in ("int4-cache", "lookup+rounded(4)"):
        with pytest.raises(InvalidRequest) as caught:
            parse(wrong)
        assert caught.value.hint
    with pytest.raises(Unsupported, match="fills masks"):
        stored(MaskedTable.random_masked(5, 0, Masking(4)), "int4-cache")
    with pytest.raises(Unsupported, match="keeps states"):
        stored(Recurrence(9), "int4-cache")
    model = stored(TableModel.random(5, seed=1), "int8-cache")
    assert "rounded(bits=8)" in model.numbers.rounded
    with pytest.raises(Unsupported, match="already"):
        stored(model, "int4-cache")


def test_the_command_line_takes_a_store_and_says_what_is_wrong_in_a_line(capsys):
    given = ["generate", "--max-new-tokens", "2", "--method", "plain", "Once"]
    assert main([*given, "--store", "int4-cache"]) == 0
    assert capsys.readouterr().out
    assert main([*given, "--store", "int5-cache"]) == 2
    assert "no store 'int5-cache'" in capsys.readouterr().err
