"""Monitors: what they are asked, what their names leave of a vocabulary, and what Python's code tells of its names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from stretto.constrain.held import Held
from stretto.constrain.members import PythonMembers, members
from stretto.constrain.monitor import Monitor
from stretto.constrain.tokens import Tokens

PIECES = [
    b"get",
    b"getN",
    b"name",
    b"getId(",
    b"g",
    b".",
    b"Name",
    b"Id",
    b"Foo",
    b".getF",
    b".getId",
    b" x",
    b"getId.g",
]
WORLD = Tokens([*PIECES, *(bytes([byte]) for byte in b"etNameId"), None], frozenset({len(PIECES) + 8}))
ASKED: list[str] = []


@dataclass(frozen=True)
class Getters(Monitor):
    """Behind the first dot two names are legal, behind others none is known."""

    name: ClassVar[str] = "getters"

    def names(self, text: str):
        ASKED.append(text)
        return {"getName", "getId"} if text.count(".") == 1 else None


def able(state) -> set[bytes]:
    return {WORLD.pieces[token] for token in state.allowed().nonzero()[0]}  # type: ignore[misc]


def told(*pieces: bytes):
    state = Getters().open(WORLD)
    assert all(state.advance(WORLD.texts[piece][0]) for piece in pieces)
    return state


def test_behind_the_mark_only_beginnings_of_names_and_names_that_end_may_stand() -> None:
    state = told(b".")
    assert able(state) & set(PIECES) == {b"get", b"getN", b"g", b"getId(", b"getId.g"} and not state.complete
    assert state.advance(0) and able(state) & set(PIECES) == {b"Name", b"Id"}
    assert state.advance(WORLD.texts[b"Name"][0]) and state.complete
    assert able(state) & set(PIECES) == {b".", b".getF", b".getId", b" x"}  # a name ends once, and what follows is free
    assert state.advance(WORLD.texts[b" x"][0]) and able(state) >= set(PIECES)


def test_a_mark_within_a_token_is_a_mark() -> None:
    free = told()
    assert b".getF" not in able(free) and {b".getId", b"getId.g", b"Foo"} <= able(free)
    assert not free.advance(WORLD.texts[b".getF"][0])
    state = told(b"getId.g")
    assert able(state) & set(PIECES) == set() and able(state) == {b"e"} and not state.complete


def test_a_draft_that_leaves_the_names_is_cut_there() -> None:
    end = max(WORLD.ends)
    held = Held(Getters().open(WORLD), WORLD.ends, 1)
    path = tuple(WORLD.texts[piece][0] for piece in (b".", b"get", b"Foo"))
    assert held.follows([0], path[:2]) and not held.follows([0], path)
    assert not held.at([0], path[:2]).allowed[end] and held.at([0], ()).allowed[end]  # type: ignore[index]


def test_each_text_is_asked_about_once() -> None:
    ASKED.clear()
    tokens = Tokens(WORLD.pieces, WORLD.ends)
    first = Getters().open(tokens)
    first.allowed()
    Getters().open(tokens).allowed()
    assert len(ASKED) == len(set(ASKED)) > 0


def test_masks_are_those_of_bytes_read_one_by_one() -> None:
    """A vocabulary drawn by chance, at places drawn by chance."""
    rng = np.random.default_rng(2)
    letters = np.frombuffer(b"getNaIdm. (", np.uint8)
    pieces = sorted(
        {bytes(rng.choice(letters, rng.integers(1, 6))) for _ in range(400)} | {bytes([x]) for x in letters}
    )
    tokens, single = Tokens(pieces), Tokens([bytes([byte]) for byte in range(256)])
    for _ in range(25):
        state, slow = Getters().open(tokens), Getters().open(single)
        for _ in range(6):
            allowed = state.allowed()
            for token, piece in enumerate(pieces):
                probe = slow.fork()
                assert all(map(probe.advance, piece)) == allowed[token], (state._path[-1], piece)
            token = int(rng.choice(allowed.nonzero()[0]))
            assert state.advance(token) and all(map(slow.advance, pieces[token]))


def test_names_that_tokens_cannot_spell_are_none() -> None:
    state = Getters().open(Tokens([b".", b"g", b"e", b"t", b"I", b"d"]))
    assert state.advance(0) and [state.advance(each) for each in (1, 2, 3)] == [True] * 3
    assert state.allowed().tolist() == [False, False, False, False, True, False]  # no getName without an N


CODE = """
class Owl:
    legs = 2
    name: str

    def __init__(self, near):
        self.friend = Owl(near)
        self.toys = []
        self.odd = near
        self.odd = 3

    def hoot(self): pass

class Big(Owl):
    def fly(self, far: "Owl"): pass

class Other(Unknown):
    a = 1

class Open:
    def __getattr__(self, name): return 1

def f(b: Big, s: str, o: Other, p: Open, n):
    t = []
    y = b
    u = 1 if n else b
    v = 3
    v = "x"
"""
OWL = {"legs", "name", "friend", "toys", "odd", "hoot"}


@pytest.mark.parametrize(
    ("tail", "names"),
    [
        ("    b.", OWL | {"fly"}),
        ("    y.friend.", OWL),
        ("    if b.friend.friend.", OWL),
        ("    q = f(1,\n    b.", OWL | {"fly"}),  # the statement is open
        ("    # it's\n    b.", OWL | {"fly"}),
        ("    w = Owl(2)\n    w.", OWL),
        ("    for w in t:\n        b.", OWL | {"fly"}),
        ("    def g(y: Owl):\n        y.", OWL),
        ("    o.", None),  # its base is not known
        ("    p.", None),  # anything may be asked of it
        ("    n.", None),
        ("    u.", None),
        ("    v.", None),  # two kinds
        ("    b.odd.", None),
        ("    for y in t:\n        y.", None),
        ("    import y\n    y.", None),
        ("    q = [b for b in c if b.", None),
        ("    q = lambda b: b.", None),
        ("    q = 'a b.", None),
        ("    # b.", None),
        ('    """b.\n    b.', None),
        ("    b.hoot().", None),
        ("    x.b.", None),
        ("    f(b).", None),
        ("    3.", None),
        ("    b .", None),
        ("Owl.", None),
        ("class Owl2:\n    def g(self):\n        self.", None),  # still being written
    ],
)
def test_what_code_tells(tail: str, names: set[str] | None) -> None:
    assert members(CODE + tail) == names


def test_values_have_what_python_gives_them() -> None:
    for tail, kind in (("    t.", list), ("    s.", str), ("    y.friend.toys.", list), ("    b.legs.", int)):
        assert members(CODE + tail) == {name for name in dir(kind) if not name.startswith("__")}


def test_code_that_is_no_python_leaves_all_free() -> None:
    for code in ("def def\nb.", "\0.", "é(.", "b..", "'''" * 3 + ".", "x = Owl(\n" * 60 + "b."):
        assert members(code) is None


def test_the_answer_goes_on_with_the_source(tmp_path) -> None:
    file = tmp_path / "owl.py"
    file.write_text(CODE)
    single = Tokens([bytes([byte]) for byte in range(256)])
    for source in (CODE, str(file)):
        state = PythonMembers(source).open(single)
        assert all(map(state.advance, b"    y.fr")) and bytes(state.forced()) == b"iend"
        assert not state.complete and all(map(state.advance, b"iend")) and state.complete


def test_the_source_may_break_off_behind_the_dot_or_in_a_name() -> None:
    single = Tokens([bytes([byte]) for byte in range(256)])
    for tail, able in (
        ("    y.", b"lnftoh"),
        ("    y.f", b"rl"),
        ("    y.toys", b"."),
        ("    y.x", None),
        ("    y", None),
    ):
        state = PythonMembers(CODE + tail).open(single)
        found = bytes(state.allowed().nonzero()[0].tolist())
        assert (b" " in found and len(found) == 256) if able is None else set(able) <= set(found)
        assert able is None or not {*b"bcz"} & {*found}
        assert state.complete == (tail[-1] not in ".f")
