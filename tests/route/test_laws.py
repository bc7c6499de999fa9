"""What every route must keep: rows, samples, streams, stops, caches and records are as in plain decoding."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from route.pairs import LARGE, PROMPTS, ROUTES, SMALL, WORDS, Words, chance, context, engine
from stretto import catalogue, method
from stretto.constrain.regex import Regex
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.table import TableModel
from stretto.route.loop import Routed
from stretto.route.proposing import Proposing
from stretto.route.reader import Reader, Reading, in_vocabulary, second_model
from stretto.route.switch import Switching
from stretto.route.weak_to_strong import TakingOver
from stretto.row import Limits, Row
from stretto.steer.choice import Rule
from stretto.steer.path import History
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature

CASES = [(name, temperature) for name in ROUTES for temperature in chance(name)]


def answers(name, temperature, prompts=PROMPTS, **settings):
    settings = {"max_new_tokens": 14, "seed": 5, "temperature": temperature, "end_tokens": ()} | settings
    return engine().generate(prompts, Routed(ROUTES[name]), **settings)


def test_every_registered_route_is_tried_here():
    registered = {name for name, part in catalogue.parts().items() if part.kind == "route"}
    assert registered == {route.name for route in ROUTES.values()}


@pytest.mark.parametrize(("name", "temperature"), CASES)
def test_a_batch_is_its_rows_alone(name, temperature):
    together = [answer.tokens for answer in answers(name, temperature)]
    assert together == [answers(name, temperature, prompt).tokens for prompt in PROMPTS]
    assert all(len(tokens) == 14 for tokens in together)


@pytest.mark.parametrize(("name", "temperature"), CASES)
def test_samples_streams_and_seeds(name, temperature):
    settings = {"max_new_tokens": 10, "seed": 2, "temperature": temperature, "end_tokens": ()}
    many = engine().generate(PROMPTS, Routed(ROUTES[name]), samples=3, **settings)
    first = engine().generate(PROMPTS[0], Routed(ROUTES[name]), **settings)
    assert many[0].tokens == first.tokens
    assert (len({tuple(answer.tokens) for answer in many[:3]}) > 1) == (temperature > 0)
    stream = engine().stream(PROMPTS[0], Routed(ROUTES[name]), **settings)
    pieces = list(stream)
    assert "".join(piece.text for piece in pieces) == first.text == stream.generation.text
    assert [token for piece in pieces for token in piece.tokens] == first.tokens


@pytest.mark.parametrize(("name", "temperature"), CASES)
def test_rows_end_where_their_tokens_say(name, temperature):
    for whole, prompt in zip(answers(name, temperature), PROMPTS, strict=True):
        for end in (4, 5):
            cut = answers(name, temperature, prompt, end_tokens=[end])
            length = whole.tokens.index(end) + 1 if end in whole.tokens else 14
            if name != "weak-to-strong":  # there an end token of the small model is not taken
                assert cut.tokens == whole.tokens[:length]
            assert cut.finish == ("end" if end in cut.tokens else "length")
        stopped = answers(name, temperature, prompt, stop=["sings"])
        assert all(len(step.sources) == len(step.committed) >= len(step.accepted) for step in stopped.steps)
        assert stopped.text == whole.text.partition("sings")[0]
        assert stopped.finish == ("stop" if "sings" in whole.text else "length")


@pytest.mark.parametrize(("name", "temperature"), CASES)
def test_caches_hold_the_texts_and_nothing_else(name, temperature):
    """After every round each model's cache holds a beginning of its text, at consecutive positions, its root left."""
    loop = Routed(ROUTES[name]).loop(context(), LARGE.new_cache(slots=4))
    rows = []
    for at, prompt in enumerate(PROMPTS):
        row = Row(
            History(Words().encode(prompt)),
            loop.cache.open(),
            Rule(Pipeline([Temperature(temperature)]), 5, 0),
            Limits(7 + at),
        )
        loop.add(row)
        rows.append(row)
    copy = Row(rows[0].history.fork(), -1, Rule(rows[0].rule.pipeline, 5, 1), Limits(9))
    loop.fork(rows[0], copy)
    while loop.rows:
        loop.step()
        for row in loop.rows:
            for reader, reading in zip(readers(loop.usual), loop.usual.readings[row], strict=True):
                cache = reader.cache
                held = [int(key) for key in cache.keys(reading.cache_row, 0)[0, :, 0]]
                text = [*(reading.prompt or row.history.tokens[: row.history.prompt_length]), *row.new_tokens]
                assert held == text[: len(held)] and len(held) < len(text)
                assert cache.row_positions(reading.cache_row).tolist() == list(range(len(held)))
                if not isinstance(loop.usual, Switching | TakingOver):  # there, who does not write is behind
                    assert len(held) == len(text) - 1
    assert [len(row.new_tokens) for row in rows] == [7, 8, 9]
    for reader in readers(loop.usual):
        assert not reader.cache.rows  # everything was given back


def readers(routing):
    """The reader of each of a row's readings."""
    if isinstance(routing, Switching | Proposing):
        return routing.readers
    return routing.small, *[routing.verifier] * 2


@pytest.mark.parametrize(("name", "temperature"), CASES)
def test_the_record_is_complete(name, temperature):
    """Sources, both log-probabilities, and the trace speak of each token once; raw is of the model that wrote it."""
    answer = answers(name, temperature, PROMPTS[0], log_probabilities=2)
    assert [token for step in answer.steps for token in step.committed] == answer.tokens
    sources = [source for step in answer.steps for source in step.sources]
    assert len(sources) == len(answer.tokens) == len(answer.log_probabilities)
    path = list(answer.prompt_tokens)
    for step in answer.steps:
        assert step.position == len(path)
        for source, token in zip(step.sources, step.committed, strict=True):
            entry = answer.log_probabilities[len(path) - len(answer.prompt_tokens)]
            writer = SMALL if source in ("small", "student", "first") else LARGE
            logits = torch.tensor(writer.rule(tuple(path)), dtype=torch.float64)
            assert entry.token == token
            assert entry.raw == pytest.approx(float(logits.log_softmax(-1)[token]))
            assert [best for best, _ in entry.top_raw] == logits.topk(2).indices.tolist()
            assert entry.steered > -torch.inf
            path.append(token)
        assert [step.drafted[node] for node in step.accepted] == step.committed[: len(step.accepted)]
    counters = answer.counters
    assert counters.new_tokens == 14 and counters.rounds == len(answer.steps)
    assert counters.layer_token_forwards == counters.token_forwards >= counters.row_forwards  # one layer


def test_steers_hold_whoever_writes():
    for name, temperature in CASES:
        for answer in answers(name, temperature, banned_tokens=[3, 4]):
            assert not {3, 4} & set(answer.tokens)
        for answer in answers(name, temperature, no_repeat_ngram=2):
            pairs = list(pairwise([*answer.prompt_tokens, *answer.tokens]))
            for at in range(len(answer.prompt_tokens) - 1, len(pairs)):
                followers = {after for before, after in pairs[:at] if before == pairs[at][0]}
                assert pairs[at] not in pairs[:at] or len(followers) == len(WORDS)  # all used: nothing else is left


@pytest.mark.parametrize("name", [name for name in ROUTES if name != "ambedkar"])
def test_the_text_form_round_trips_and_the_engine_runs_it(name):
    text = ROUTES[name].name
    assert method.describe(method.parse(text)) == text
    small = engine()
    small._drafts["zoo/draft"] = SMALL
    answer = small.generate(PROMPTS[0], text, max_new_tokens=5)
    assert answer.method == text and len(answer.tokens) == 5


@pytest.mark.parametrize("text", ["entropy+lookup", "reverse+fixed(3)", "prefix+entropy", "entropy+exact"])
def test_a_route_decodes_by_itself(text):
    with pytest.raises(InvalidRequest, match=r"decodes by itself|two of a kind, route") as caught:
        method.parse(text)
    assert caught.value.hint


@pytest.mark.parametrize("name", ROUTES)
def test_a_short_second_model_bounds_the_answer_and_refuses_long_prompts_alone(name):
    short = TableModel(len(WORDS), SMALL.rule, max_positions=8)
    setting = "student" if hasattr(ROUTES[name], "student") else "first" if hasattr(ROUTES[name], "first") else "small"
    route = Routed(replace(ROUTES[name], **{setting: short}))
    fits, long, fits_too = engine().generate(["<s>he sings", [1] * 8, "she"], route, max_new_tokens=50)
    assert (len(fits.tokens), fits.finish) == (4, "length") and len(fits_too.tokens) == 7
    assert isinstance(long.error, InvalidRequest) and "8 positions" in str(long.error)
    with pytest.raises(InvalidRequest, match="8 positions"):
        engine().generate([1] * 8, route)


def test_models_of_another_vocabulary_are_refused():
    with pytest.raises(Unsupported, match="5 tokens, the target 6"):
        second_model(context(), TableModel.random(5, 0))


def test_the_text_after_another_prompt():
    row = Row(History([1, 2, 3]), -1, Rule(Pipeline([Temperature(0.0)])), Limits(9))
    row.history.extend([4, 5])
    own, other = Reading(row, 0), Reading(row, 0, [6, 7, 8, 9])
    assert (len(own), len(other)) == (5, 6)
    for reading, text in ((own, [1, 2, 3, 4, 5]), (other, [6, 7, 8, 9, 4, 5])):
        for length in range(len(text) + 1):
            assert reading.after(length) == text[length:]
            assert reading.after(length, [10, 11]) == [*text, 10, 11][length:]
        assert reading.after(len(text) + 1, [10, 11]) == [11]


def test_padding_of_the_vocabulary_is_no_difference():
    logits = torch.zeros(2, 4)
    assert in_vocabulary(logits, 4) is logits
    assert in_vocabulary(logits, 3).shape == (2, 3)
    assert in_vocabulary(logits, 5)[:, 4].tolist() == [-torch.inf] * 2
    padded = Reader(TableModel.random(4, 0), TableModel.random(4, 0).new_cache(), 5)
    with pytest.raises(Unsupported, match="token 4 is none of the 4 tokens"):
        padded.open(Row(History([0, 4, 1]), -1, Rule(Pipeline([Temperature(0.0)])), Limits(3)))


@pytest.mark.parametrize(("name", "temperature"), CASES)
def test_a_constraint_holds_whoever_writes_or_is_refused(name, temperature):
    settings = {"end_tokens": (), "temperature": temperature, "seed": 3, "samples": 3, "max_new_tokens": 30}
    constraint = Regex(r"(she|he)( sings){2,4}\.")
    if not ROUTES[name].obeys:
        with pytest.raises(Unsupported, match="regex keeps an answer valid token by token, which 'ambedkar' cannot"):
            engine().generate(PROMPTS[0], Routed(ROUTES[name]), constraint=constraint, **settings)
        return
    for given in ({"constraint": constraint}, {}):
        chosen = Routed(ROUTES[name], constraint=None if given else constraint)
        for answer in engine().generate(PROMPTS, chosen, **given, **settings):
            assert re.fullmatch(constraint.pattern, answer.text) and answer.finish == "end"
