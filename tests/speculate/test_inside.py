"""Layers of the target that guess."""

from __future__ import annotations

from typing import Any

import pytest

from laws.worlds import LastTwo
from stretto import method
from stretto.engine import Engine
from stretto.errors import InvalidRequest, ModelError, StrettoError, UnknownName, Unsupported
from stretto.laws.inside import PROMPTS, engine
from stretto.models.contract import Evaluation, Want
from stretto.models.window import Window
from stretto.serve.errors import Refused
from stretto.serve.methods import require_nameless
from stretto.speculate.inside.evenly import Evenly
from stretto.speculate.inside.first import First
from stretto.speculate.inside.skip import Skip
from stretto.speculate.inside.source import spans

ASKED: dict[str, Any] = {"max_new_tokens": 20, "end_tokens": ()}


def test_which_layers() -> None:
    assert First(2).of(6) == (0, 1)
    assert Skip((4, 2)).of(6) == (0, 1, 3, 5)
    assert Evenly(1.0).of(32) == tuple(range(32))
    assert Evenly(2.0).of(32) == (0, 2, 4, 6, 8, 10, 12, 14, 17, 19, 21, 23, 25, 27, 29, 31)
    assert Evenly(9.0).of(6) == (0, 5) and Evenly(1.0).of(1) == (0,)
    assert spans((0,)) == [(0, 1)] and spans((0, 1, 2)) == [(0, 3)] and spans((0, 2, 3, 5)) == [(0, 1), (2, 4), (5, 6)]


@pytest.mark.parametrize("text", ["draft(first(4))", "draft-tree(4,model=skip(2,3))+fixed(9)", "sampled(evenly)"])
def test_the_text_form_gives_it_again(text: str) -> None:
    parsed: Any = method.parse(text)
    assert parsed.draft.model.kind == "layers"
    assert method.parse(method.describe(parsed)) == parsed
    require_nameless(text, "method")  # a request may name them: they are no file


def test_a_name_in_quotes_or_of_another_kind_of_part_is_a_name() -> None:
    for text in ('draft("first")', "draft(lookup)", "draft(./first)"):
        parsed: Any = method.parse(text)
        assert isinstance(parsed.draft.model, str)
        with pytest.raises(Refused):
            require_nameless(text, "method")


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("draft(first(4))", Unsupported, "more layers than the target has: 3"),
        ("draft(skip(1,3))", Unsupported, "more layers"),
        ("draft(skip(0))", InvalidRequest, "layer 0 stays"),
        ("draft(first(0))", InvalidRequest, "count >= 1"),
        ("draft(evenly(0.5))", InvalidRequest, "speed >= 1"),
        ("draft(frst(2))", UnknownName, "'first'"),
        ("draft(lookup(2))", InvalidRequest, "Lookup.* of the wrong kind"),
        ("draft(./frst(2))", ModelError, "no folder"),
        ("first(2)", InvalidRequest, "setting of a drafter"),
        ("lookup+skip(1)", InvalidRequest, "setting of a drafter"),
        ("hierarchy(draft(first(2)))", StrettoError, "lends none of its layers"),
    ],
)
def test_what_does_not_fit_is_refused(text: str, error: type[StrettoError], said: str) -> None:
    made = engine("fast")
    made._drafts["zoo/draft"] = made.model
    with pytest.raises(error, match=said):
        made.generate([1], text, max_new_tokens=2)


def test_a_target_without_layers_is_refused_at_the_door() -> None:
    with pytest.raises(Unsupported, match="layers, hidden"):
        Engine(LastTwo(4, seed=1)).generate([1], "draft(first(1))", max_new_tokens=2)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_all_layers_guess_right(temperature: float) -> None:
    """They are the target, with the row's own noise; that none is left out is what makes them so."""
    rounds = {}
    for layers in ("first(3)", "first(2)"):
        answer = engine("bits").generate(
            list(PROMPTS[0]), f"draft({layers})+fixed(4)", temperature=temperature, seed=1, **ASKED
        )
        rounds[layers] = answer.counters.rounds
    assert rounds["first(3)"] == 4 < rounds["first(2)"]


def test_no_layer_reads_again_what_the_target_has_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the target's own windows there are only those of the newest token and of drafted ones."""
    made = engine("fast")
    windows: list[tuple[tuple[int, int] | None, int]] = []
    evaluate = made.model.evaluate

    def noted(window: Window, cache: Any, want: Want = Want()) -> Evaluation:
        windows.append((window.layers, sum(window.lengths)))
        return evaluate(window, cache, want)

    monkeypatch.setattr(made.model, "evaluate", noted)
    answer = made.generate([each % 97 for each in range(50)], "draft(skip(1))+fixed(3)", **ASKED)
    drafted = [window for window in windows if window[0] is not None]
    assert set(drafted) == {((0, 1), 1), ((2, 3), 1)}
    assert len(drafted) <= 2 * 3 * answer.counters.rounds
