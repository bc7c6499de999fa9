"""Control vectors in answers: what is added where, as a setting, as a steer, as text and on the command line."""

from __future__ import annotations

import re

import pytest
import torch

from laws.worlds import LastTwo
from stretto import Engine, cli, method
from stretto.errors import InvalidRequest, ModelError, Unsupported
from stretto.laws.inside import engine
from stretto.models.clock import SimulatedClock
from stretto.models.contract import Want
from stretto.models.control_vector import ControlVector
from stretto.models.window import Window
from stretto.request import Request
from stretto.steer.contrast import Contrast
from stretto.steer.vector import Vector, vector_of

CHANNELS = 32
VECTOR = ControlVector({1: 3 * torch.eye(CHANNELS)[4], 2: -2 * torch.eye(CHANNELS)[9]})
PROMPT = [5, 9, 11, 5]
SETTINGS = {"max_new_tokens": 1, "end_tokens": (), "log_probabilities": 97}


def reported(made: Engine, **settings) -> torch.Tensor:
    """The log-probabilities of all tokens after the prompt."""
    (entry,) = made.generate(PROMPT, "plain", **SETTINGS | settings).log_probabilities
    return torch.tensor([value for _, value in sorted(entry.top_raw)])


@pytest.mark.parametrize("driven", ["fast", "driven"])
def test_it_is_added_at_every_place_of_prompt_and_answer(driven):
    """Against the model's own layers, one after another, with the sums made by hand."""
    made = engine(driven)
    model, cache = made.model, made.model.new_cache()
    row, rows = cache.open(), None
    for layer in range(model.layers):
        window = Window.chain([row], [PROMPT], [0], model.device)
        window.layers, window.hidden = (layer, layer + 1), rows
        found = model.evaluate(window, cache, Want(hidden=(layer + 1,)))
        rows = found.hidden[layer + 1]
        if layer + 1 in VECTOR.directions:
            rows = rows + 1.5 * VECTOR.directions[layer + 1]
    expected = model.read_out(rows)[0, -1].log_softmax(-1)
    torch.testing.assert_close(reported(made, edits=[Vector(VECTOR, 1.5)]), expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(reported(made), expected, atol=0.1)


def test_several_add_up_and_a_range_leaves_layers_out():
    made = engine("fast")
    both = reported(made, edits=[Vector(VECTOR, last=1), Vector(VECTOR, first=2)])
    assert torch.equal(both, reported(made, edits=[VECTOR]))
    assert torch.equal(reported(made, edits=[Vector(VECTOR, 0.0)]), reported(made))
    assert not torch.equal(reported(made, edits=[Vector(VECTOR, last=1)]), both)
    twice = reported(made, edits=[VECTOR, VECTOR])
    torch.testing.assert_close(twice, reported(made, edits=[Vector(VECTOR, 2.0)]), atol=1e-4, rtol=1e-4)


def test_a_companion_is_read_with_the_same_edits():
    """What less of the prompt says is said by the edited model, in the loop and afresh."""
    from stretto.verify import scores_after

    made = engine("fast")
    steers = [Contrast(newest=2, beta=2.0, share=0.0)]
    settings = {"steers": steers, "edits": [VECTOR], "max_new_tokens": 6, "end_tokens": ()}
    answer = made.generate(PROMPT, "plain", **settings)
    assert answer.tokens == made.generate(PROMPT, "recycle+fixed(8)", **settings).tokens
    request = Request.of(settings | {"seed": 0})
    for at, token in enumerate(answer.tokens):
        assert int(scores_after(made, PROMPT, answer.tokens[:at], request).argmax()) == token
    edited, plain = (
        made.generate(PROMPT, "plain", **SETTINGS | {"steers": steers, "edits": e}) for e in ([VECTOR], [])
    )
    assert edited.log_probabilities[0].steered != plain.log_probabilities[0].steered
    alone = reported(made, edits=[VECTOR]).double()
    said = scores_after(made, PROMPT[-2:], [], Request(edits=[VECTOR])).log_softmax(-1).double()
    expected = (alone + 2.0 * (alone - said)).log_softmax(-1)
    assert edited.log_probabilities[0].steered == pytest.approx(float(expected[edited.tokens[0]]), abs=1e-3)


def test_what_was_read_under_other_edits_is_read_again():
    prompt = [3 + (at * at * 13 + at * 5) % 90 for at in range(100)]
    other = Vector("random:3", 5.0)
    fresh = Engine(engine("fast").model, clock=SimulatedClock(), prefixes=0)
    used = Engine(engine("fast").model, clock=SimulatedClock(), prefixes=1 << 24)
    for edits in ([], [VECTOR], [other], [VECTOR, other], [VECTOR], []):
        settings = {"edits": edits, "max_new_tokens": 3, "end_tokens": (), "log_probabilities": 0}
        found, expected = (made.generate(prompt, "plain", **settings) for made in (used, fresh))
        assert found.tokens == expected.tokens
        mine, theirs = ([each.raw for each in answer.log_probabilities] for answer in (found, expected))
        assert mine == pytest.approx(theirs, abs=1e-4)
    assert used._prefixes.bytes > 0


def test_searches_and_constraints_go_under_it():
    """Branches have their row's edits: one beam is the greedy answer, and drafts change none of several."""
    made = engine("fast")
    settings = {"max_new_tokens": 8, "end_tokens": ()}
    greedy = made.generate(PROMPT, "plain", edits=[VECTOR], **settings)
    assert made.generate(PROMPT, "beam(1)", edits=[VECTOR], **settings).tokens == greedy.tokens
    beams = made.generate(PROMPT, "beam(3)", edits=[VECTOR], **settings)
    assert beams.tokens == made.generate(PROMPT, "lookup+beam(3)", edits=[VECTOR], **settings).tokens
    assert beams.tokens != made.generate(PROMPT, "beam(3)", **settings).tokens
    masked = [
        made.generate(PROMPT, way, edits=[VECTOR], allowed_tokens=range(40), **settings).tokens
        for way in ("plain", "recycle+fixed(8)")
    ]
    assert masked[0] == masked[1] and max(masked[0]) < 40


def test_forms_of_a_vector(tmp_path, capsys):
    file = tmp_path / "happy.gguf"
    VECTOR.write(file)
    assert vector_of(f"{file}:0.5") == Vector(str(file), 0.5)
    assert vector_of(file) == vector_of(str(file)) == Vector(str(file))
    assert vector_of("random:7") == Vector("random:7") and vector_of("random:7:-2") == Vector("random:7", -2.0)
    assert vector_of(VECTOR) == Vector(VECTOR) and vector_of(Vector(VECTOR, 3)) == Vector(VECTOR, 3.0)
    made = engine("fast")
    answers = [
        made.generate(PROMPT, "lookup", edits=[f"{file}:4"], max_new_tokens=6),
        made.generate(PROMPT, "lookup", control_vector=[Vector(VECTOR, 4)], max_new_tokens=6),
        made.generate(PROMPT, f'lookup+vector("{file}",4)', max_new_tokens=6),
        made.generate(PROMPT, "lookup", steers=[f'vector("{file}",4)'], max_new_tokens=6),
    ]
    assert all(answer.tokens == answers[0].tokens for answer in answers)
    assert method.describe(method.parse(answers[2].method)) == answers[2].method


def test_the_command_line_takes_them(tmp_path, capsys):
    channels = Engine.load("zoo/causal").model.channels
    ControlVector({2: 40 * torch.eye(channels)[7]}).write(tmp_path / "v.gguf")
    words = ["generate", "--ids", "5 9 11", "--max-new-tokens", "6", "--seed", "1"]
    said = []
    for more in ([], ["--control-vector", f"{tmp_path / 'v.gguf'}:3"], ["--edits", "random:4:90"]):
        assert cli.main([*words, *more]) == 0
        said.append(capsys.readouterr().out)
    assert len(set(said)) == 3
    assert cli.main([*words, "--control-vector", str(tmp_path / "none.gguf")]) != 0
    assert re.search("there is no file", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Vector("random:x"), InvalidRequest, "names no seed"),
        (lambda: Vector("random:1", 1e9), InvalidRequest, "strength"),
        (lambda: Vector("random:1", first=-1), InvalidRequest, "from layer -1"),
        (lambda: Vector("random:1", first=2, last=1), InvalidRequest, "up to layer 1"),
        (lambda: Vector(VECTOR, first=3), InvalidRequest, "has no layer from 3 on"),
        (lambda: Request(edits=["none.gguf:2"]), ModelError, "there is no file none.gguf"),
        (lambda: Request(edits=[3]), InvalidRequest, "edits is"),
        (lambda: engine("fast").generate(PROMPT, edits=[ControlVector({1: [1.0]})]), Unsupported, "of 1 channels"),
        (lambda: engine("fast").generate(PROMPT, edits=[Vector("random:1", first=4)]), Unsupported, "layer 4"),
        (lambda: Engine(LastTwo(5, 1)).generate([1], edits=[VECTOR]), Unsupported, "takes no edits"),
        (lambda: engine("fast").generate([1], "entropy(small=zoo/draft)", edits=[VECTOR]), Unsupported, "vector looks"),
    ],
)
def test_mistakes_are_named_before_any_work(make, error, says):
    with pytest.raises(error, match=says):
        make()
