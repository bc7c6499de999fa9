"""Values as annotations say: what is served, what is refused, and that every part and setting goes through it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
import torch

from stretto import catalogue, method
from stretto.annotations import Unbounded
from stretto.diffuse.method import Diffuse
from stretto.errors import InvalidRequest
from stretto.request import Request
from stretto.route.loop import Routed
from stretto.search.loop import Searched
from stretto.speculate.acceptors.exact import Exact
from stretto.speculate.drafters.lookup import Lookup
from stretto.speculate.loop import Speculate
from stretto.speculate.planners.fixed import Fixed
from stretto.text import is_one
from stretto.values import Checked, checked, fitting, settings_of, shown, token_ids


@pytest.mark.parametrize(
    ("value", "kind", "found"),
    [
        (8.0, int, 8),
        (np.int32(8), int, 8),
        (np.float64(8), int, 8),
        (torch.tensor(8), int, 8),
        (np.float32(0.5), float, 0.5),
        (3, float, 3),
        (np.True_, bool, True),
        (np.array([1, 2]), tuple[int, ...], (1, 2)),
        (torch.tensor([1, 2]), tuple[int, ...], (1, 2)),
        (range(3), tuple[int, ...], (0, 1, 2)),
        ({np.int64(5): 1}, dict[int, float], {5: 1}),
        (None, int | None, None),
        ("ab", str | tuple[str, ...], "ab"),
        (["ab"], str | tuple[str, ...], ("ab",)),
        ("up", Literal["up", "down"], "up"),
        (float("inf"), Unbounded, float("inf")),
        (abs, Callable[[int], int], abs),
    ],
)
def test_what_means_the_same_is_served_as_pythons_own(value, kind, found):
    fit = fitting(value, kind, "it")
    assert fit == found and type(fit) is type(found)


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (True, int, "a whole number"),
        (8.5, int, "a whole number"),
        ("8", int, "a whole number"),
        (2**63, int, "a whole number"),
        (1e300, int, "a whole number"),
        (float("nan"), float, "a finite number"),
        (float("inf"), float, "a finite number"),
        (float("nan"), Unbounded, "a number"),
        (10**400, float, "a finite number"),
        (1, bool, "true or false"),
        (None, int, "a whole number"),
        (5, str, "text"),
        (b"x", str | tuple[str, ...], "text or several: each text"),
        ("ab", tuple[str, ...], "several: each text"),
        ([1, None], tuple[int, ...], "several: each a whole number"),
        ({1: None}, dict[int, float], "a mapping"),
        ("left", Literal["up", "down"], "one of 'up', 'down'"),
        (Lookup, Lookup, "a Lookup"),
        (5, Callable[[int], int], "a Callable"),
    ],
)
def test_the_rest_is_refused_with_what_it_should_be(value, kind, words):
    with pytest.raises(InvalidRequest, match="a value of the wrong kind") as caught:
        fitting(value, kind, "it")
    assert caught.value.hint.startswith(f"it is {words}") and "\n" not in str(caught.value)


@dataclass(frozen=True, slots=True)
class Knob(metaclass=Checked):
    turn: int
    name: str = "knob"
    many: tuple[float, ...] = ()

    def __post_init__(self):
        assert type(self.turn) is int and type(self.many) is tuple  # ranges are looked at afterwards


def test_a_class_of_checked_values_needs_no_code_for_it():
    assert Knob(np.int64(2), many=[1]) == Knob(2.0, many=(1,))
    for wrong in ({"turn": "x"}, {}, {"turn": 1, "trun": 1}, {"turn": 1, "many": 3}):
        with pytest.raises(InvalidRequest):
            Knob(**wrong)
    with pytest.raises(InvalidRequest, match="no 4 settings"):
        Knob(1, "a", (), 4)
    with pytest.raises(InvalidRequest, match="given twice"):
        Knob(1, turn=1)


def test_a_function_is_checked_in_the_same_way():
    @checked
    def open_it(name: str, *, wide: int = 1) -> tuple[str, int]:
        return name, wide

    assert open_it("a", wide=2.0) == ("a", 2)
    with pytest.raises(InvalidRequest, match="name is None"):
        open_it(None)
    with pytest.raises(InvalidRequest, match=r"no option 'wid'.*did you mean 'wide'"):
        open_it("a", wid=2)
    with pytest.raises(TypeError):
        open_it("a", 2)


def test_every_part_and_every_method_is_checked_and_can_be_asked_what_it_takes():
    for part in [*catalogue.parts().values(), Request, Speculate, Routed, Searched, Diffuse]:
        assert isinstance(part, Checked), part
        for name, kind in settings_of(part).items():
            with pytest.raises(InvalidRequest, match=f"^{name}.* a value of the wrong kind"):
                fitting(object(), kind, name)


USUAL = (Exact(), Fixed())


def test_settings_of_parts_are_refused_by_value_and_by_text():
    for make in (
        lambda: Fixed(float("nan")),
        lambda: Lookup(longest="x"),
        lambda: Speculate(5, *USUAL),
        lambda: Speculate(Lookup, *USUAL),
        lambda: method.parse("lookup+fixed(nan)"),
        lambda: method.parse("lookup(longest=1e30)"),
        lambda: method.parse("graft(drafter=lookup)"),
        lambda: method.parse("jacobi(start=x)"),
        lambda: method.parse("lookup(longest=2,longest=3)"),
        lambda: method.parse("fuse(" * 2000 + "lookup" + ")" * 2000),
    ):
        with pytest.raises(InvalidRequest) as caught:
            make()
        assert caught.value.hint
    assert method.parse("lookup(longest=4.0)").draft == Lookup(4)
    assert method.parse("draft(model=5)").draft.model == "5"  # a name, whatever it looks like


@pytest.mark.parametrize("name", ["seed", "max_new_tokens"])
def test_whole_floats_and_arrays_are_settings(name):
    assert getattr(Request(**{name: 8.0}), name) == 8
    assert Request(banned_tokens=np.array([3])).banned_tokens == (3,)


def test_no_seed_is_a_fresh_one():
    assert Request(seed=None).seed != Request(seed=None).seed
    assert Request(seed=None).noise >= 0 and Request(seed=7).noise == 7


def test_ids_come_in_any_row_of_numbers():
    for ids in ([5, 6], (5, 6), range(5, 7), np.array([5, 6]), torch.tensor([5, 6]), [np.int64(5), 6.0]):
        assert is_one(ids) and token_ids(ids) == [5, 6]
    assert not is_one(np.array([[5, 6]])) and not is_one([np.array([5]), [6, 7]])
    for wrong in ([None], [1.5], [True], [1, b"x"]):
        assert is_one(wrong)
        with pytest.raises(InvalidRequest, match="the prompt is"):
            token_ids(wrong)


def test_a_value_is_shown_in_one_short_line():
    class Silent:
        def __repr__(self):
            raise RuntimeError

    for value in (10**5000, "x" * 1000, torch.zeros(50, 50), Silent(), "\ud800", ["a" * 99] * 99):
        line = shown(value)
        assert len(line) <= 60 and "\n" not in line and line.encode()
