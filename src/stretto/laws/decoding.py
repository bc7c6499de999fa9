"""Laws of any method, through an engine over a table: what it answers does not depend on how it is asked."""

from __future__ import annotations

from typing import Any

from .. import method as methods
from ..engine import Engine
from ..errors import StrettoError
from ..loop import Method
from ..models.clock import SimulatedClock
from ..models.table import TableModel

V = 6
TARGET, SECOND = TableModel.random(V, seed=1, order=3), TableModel.random(V, seed=2, order=2)
PROMPTS = [[0, 1, 2], [3], [2, 2, 1, 0, 3, 1]]
NEW = 9
SETTINGS: dict[str, dict[str, Any]] = {"greedy": {}, "sampled": {"temperature": 1.0, "seed": 5}}


def engine() -> Engine:
    """An engine that remembers nothing yet; a second model, by whatever name it ships, is another table."""
    made = Engine(TARGET, clock=SimulatedClock())
    made._drafts["zoo/draft"] = SECOND
    return made


def served(method: Method, name: str) -> dict[str, Any] | None:
    """The settings of that name, where the method takes them; what it does not take it refuses with a hint."""
    settings = SETTINGS[name] | {"max_new_tokens": NEW, "end_tokens": [V - 1]}
    try:
        engine().generate(PROMPTS[0], method, **settings)
    except StrettoError as error:
        assert error.hint
        return None
    return settings


def some_request_is_served(method: Method) -> None:
    """Not everything is refused."""
    assert any(served(method, name) for name in SETTINGS), f"{methods.describe(method)} serves no table model"


def an_answer_is_the_same_alone_together_again_and_as_a_stream(method: Method, name: str) -> None:
    """In a batch each prompt gets what it gets alone; a stream is the same in pieces; and so is the same call again."""
    settings = served(method, name)
    if settings is None:
        return
    mine = engine()
    together = mine.generate(PROMPTS, method, **settings)
    for prompt, answer in zip(PROMPTS, together, strict=True):
        assert answer.error is None
        assert answer.finish == ("end" if answer.tokens[-1] == V - 1 else "length")
        assert len(answer.tokens) == NEW or answer.finish == "end"
        alone = engine().generate(prompt, method, **settings)
        assert alone.tokens == answer.tokens
        stream = engine().stream(prompt, method, **settings)
        assert [token for piece in stream for token in piece.tokens] == answer.tokens
    if all(answer.repeats for answer in together):
        assert [answer.tokens for answer in mine.generate(PROMPTS, method, **settings)] == [
            answer.tokens for answer in together
        ]


def both_answer_alike(method: Method, other: Method, name: str) -> None:
    """Two methods have the same answers, all that are asked for, in the same order."""
    settings = served(method, name)
    if settings is not None:
        for prompt in PROMPTS:
            found, expected = (engine().generate([prompt], each, samples=3, **settings) for each in (other, method))
            assert [answer.tokens for answer in found] == [answer.tokens for answer in expected]


def the_text_form_gives_it_again(method: Method) -> None:
    """`describe` writes what `parse` reads."""
    assert methods.parse(methods.describe(method)) == method
