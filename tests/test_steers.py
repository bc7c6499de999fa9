"""Steers by value, by text and in a method: the same wherever they are given, and refused before any work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

import stretto
from laws.worlds import LastTwo
from stretto import catalogue, cli, method
from stretto.engine import Engine
from stretto.errors import InvalidRequest, UnknownName, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable
from stretto.request import Request
from stretto.steer.ban import Ban, MinTokens
from stretto.steer.bias import Bias
from stretto.steer.contract import Stage, Steer
from stretto.steer.guide import Guide
from stretto.steer.path import Scope
from stretto.steer.repetition import Repetition
from stretto.steer.temperature import Temperature
from stretto.steer.top_a import TopA
from stretto.steer.top_k import TopK
from stretto.verify import compare

QUIET = '''
from stretto.steer.ban import *


@dataclass(frozen=True)
class Quiet(Ban):
    """A ban."""

    name = "quiet"
'''
SETTINGS = {"temperature": 1.0, "max_new_tokens": 24, "seed": 5}


@pytest.fixture(scope="module")
def engine():
    return Engine(LastTwo(5, seed=1), clock=SimulatedClock())


def test_the_same_steer_wherever_it_is_given(engine):
    by_setting = engine.generate([1, 2], "lookup", repetition_penalty=1.7, top_k=3, **SETTINGS)
    ways = [
        ("lookup", [Repetition(1.7), TopK(3)]),
        ("lookup", ["repetition(1.7)", "top_k(3)"]),
        ("lookup+top_k(3)", [Repetition(1.7)]),
        ("top_k(k=3)+lookup+repetition(1.7)", []),
        ("prompt-lookup+top_k(3)+repetition(1.7)", []),
        ("plain+top_k(3)+repetition(1.7)", []),
        ("top_k(3)+repetition(1.7)", []),
    ]
    for text, steers in ways:
        assert engine.generate([1, 2], text, steers=steers, **SETTINGS).tokens == by_setting.tokens, text
    assert engine.generate([1, 2], "lookup", **SETTINGS).tokens != by_setting.tokens
    warm = {name: value for name, value in SETTINGS.items() if name != "temperature"}
    answer = engine.generate([1, 2], "lookup+temperature(1)+top_k(3)", repetition_penalty=1.7, **warm)
    assert answer.tokens == by_setting.tokens  # greedy is what a temperature is where none is named


@pytest.mark.parametrize(
    ("text", "steer"),
    [
        ("top_a(0.2)", TopA(0.2)),
        ("ban(3,1)", Ban({1, 3})),
        ("repetition(1.2,scope=output,exempt=(2,0))", Repetition(1.2, Scope.OUTPUT, exempt={0, 2})),
        ("bias((3,1.5),(1,-2))", Bias(((3, 1.5), (1, -2.0)))),
        ("min_tokens(3,least=4)", MinTokens({3}, 4)),
    ],
)
def test_the_text_of_a_steer(text, steer):
    parsed = method.parse(f"lookup+{text}")
    assert parsed.steers == (steer,)
    assert method.parse(method.describe(parsed)) == parsed
    assert Request(steers=[text]).steers == Request(steers=(steer,)).steers == (steer,)


def test_every_steer_is_written_and_read_in_every_family():
    for name, part in catalogue.parts().items():
        if part.kind == "steer":
            for base in ("plain", "lookup+fixed(3)", "threshold+blocks(4)", "entropy", "prompt-lookup"):
                steers = "+".join(map(method.describe_part, part.examples()))
                parsed = method.parse(f"{base}+{steers}")
                assert parsed.steers == part.examples(), name
                assert method.parse(method.describe(parsed)) == parsed, name


@pytest.mark.parametrize(
    ("text", "steers", "settings", "error", "says"),
    [
        ("lookup", ["top_k(3)"], {"top_k": 2}, InvalidRequest, "top_k is given as a setting and as a steer"),
        ("lookup+temperature(0.5)", [], {"temperature": 1.0}, InvalidRequest, "temperature is given as a setting"),
        ("lookup", ["top_b(3)"], {}, UnknownName, "did you mean 'top_"),
        ("lookup", ["lookup"], {}, InvalidRequest, "no steer"),
        ("lookup", ["top_k(-1)"], {}, InvalidRequest, "top_k -1 is out of range"),
        ("lookup", ["top_k(x)"], {}, InvalidRequest, "k of 'top_k' is 'x', a value of the wrong kind"),
        ("lookup", [3], {}, InvalidRequest, "steers is"),
        ("lookup", "top_k(3)", {}, InvalidRequest, "steers is"),
        ("lookup+ban(9)", [], {}, InvalidRequest, "ban names token 9, which is outside of the vocabulary"),
        ("lookup+repetition(1.2,scope=all)", [], {}, InvalidRequest, "one of 'path', 'output'"),
    ],
)
def test_mistakes_are_named_before_any_work(engine, text, steers, settings, error, says):
    with pytest.raises(error, match="\\(".join(says.split("("))) as caught:
        engine.generate([1, 2], text, steers=steers, **settings)
    assert "\n" not in str(caught.value) and caught.value.hint


def test_models_that_fill_masks_take_pointwise_steers_and_no_others():
    table = MaskedTable(6, lambda at, seen: [0.3 * token + 0.1 * at for token in range(6)], Masking(5))
    engine = Engine(table, clock=SimulatedClock())
    settings = {"max_new_tokens": 6, "end_tokens": ()}
    answer = engine.generate([0], "threshold+ban(4)", **settings)
    assert set(answer.tokens) == {3} and answer.method == "threshold+ban(4)"
    warm = engine.generate([0], "threshold", steers=["edt(9, 0.4)", "top_a(0.9)"], temperature=1.0, **settings)
    assert warm.tokens == [4] * 6 != engine.generate([0], "threshold", temperature=1.0, **settings).tokens
    with pytest.raises(Unsupported, match="repetition looks at the text so far"):
        engine.generate([0], "threshold+repetition(1.2)", **settings)


@dataclass(frozen=True)
class Calm(Steer):
    """The last token is never said again at once."""

    name: ClassVar[str] = "calm"
    stage: ClassVar[Stage] = Stage.PENALTY

    by: float = 5.0  # logits, >= 0

    def __call__(self, logits, nodes):
        cost = logits.new_zeros(logits.shape)
        for node, path in enumerate(nodes.paths):
            cost[node, path.last(1)[-1]] = self.by
        return logits - cost


def test_a_steer_from_outside_works_where_the_packages_own_do(engine, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(catalogue, "_added", catalogue._Others())
    by_value = engine.generate([1, 2], "lookup", steers=[Calm()], **SETTINGS)
    with pytest.raises(UnknownName):
        method.parse("lookup+calm")
    stretto.register(Calm)
    assert engine.generate([1, 2], "lookup+calm", **SETTINGS).tokens == by_value.tokens
    assert engine.generate([1, 2], "plain", steers=["calm"], **SETTINGS).tokens == by_value.tokens
    assert by_value.tokens != engine.generate([1, 2], "plain", **SETTINGS).tokens
    assert all(one != two for one, two in zip(by_value.tokens, by_value.tokens[1:], strict=False))
    catalogue._added = catalogue._Others()
    file = tmp_path / "quiet.py"
    file.write_text(QUIET)
    assert cli.main(["methods", "--parts", "--plugin", str(file)]) == 0
    assert "  quiet      A ban" in capsys.readouterr().out
    assert cli.main(["methods", "lookup+quiet(3)", "--plugin", str(file)]) == 0
    assert "steer      quiet" in capsys.readouterr().out


def test_verify_holds_both_methods_to_the_steers_of_the_first(engine):
    found = compare(engine, [1, 2], "lookup+ban(2)", max_new_tokens=20)
    assert found.identical and 2 not in found.second.tokens
    assert not compare(engine, [1, 2], "lookup+ban(2)", "plain+ban(3)", max_new_tokens=20).identical


def test_a_steer_that_no_pipeline_has_room_for(engine):
    @dataclass(frozen=True)
    class Cut(Steer):
        """Says that it truncates, and is no truncation."""

        name: ClassVar[str] = "cut"
        stage: ClassVar[Stage] = Stage.TOP_K

        def __call__(self, logits, nodes):
            return logits

    with pytest.raises(InvalidRequest, match="cut works at the stage top_k"):
        engine.generate([1], "plain", steers=[Cut(), Temperature(1)])

    @dataclass(frozen=True)
    class Blind(Guide):
        """Says that it needs logits only."""

        name: ClassVar[str] = "blind"
        pointwise: ClassVar[bool] = True

    with pytest.raises(InvalidRequest, match="blind says that it needs logits only"):
        engine.generate([1], "plain", steers=[Blind(2.0)])
