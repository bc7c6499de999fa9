"""The engine at the edge: prompts in every form, limits, stops, samples, batches with a bad prompt, streams."""

from __future__ import annotations

import json
import resource
import tracemalloc

import pytest
import torch

from stretto.engine import Engine
from stretto.errors import InvalidRequest, OutOfMemory, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel

WORDS = ["a", "b", " ", "ab", "c", "."]
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


class Letters:
    """A tokenizer of a few letters; encodes the longest word first."""

    chat_template = TEMPLATE
    all_special_ids: tuple[int, ...] = ()

    def encode(self, text, add_special_tokens=True):
        ids = []
        while text:
            word = max((w for w in WORDS if text.startswith(w)), key=len)
            ids.append(WORDS.index(word))
            text = text[len(word) :]
        return ids

    def decode(self, ids, skip_special_tokens=True):
        return "".join(WORDS[i] for i in ids)

    def apply_chat_template(self, messages, tokenize=False, add_generation_prompt=True):
        return "".join(message["content"] for message in messages)

    def get_vocab(self):
        return {word: at for at, word in enumerate(WORDS)}


@pytest.fixture
def engine():
    return Engine(TableModel.random(len(WORDS), 3), Letters(), clock=SimulatedClock())


def test_text_tokens_and_messages_are_the_same_prompt(engine):
    by_text = engine.generate("ab c", max_new_tokens=9)
    assert by_text.prompt_tokens == [3, 2, 4]
    assert engine.generate([3, 2, 4], max_new_tokens=9).tokens == by_text.tokens
    chat = engine.generate([{"role": "user", "content": "ab"}, {"role": "user", "content": " c"}], max_new_tokens=9)
    assert chat.tokens == by_text.tokens
    assert by_text.text == "".join(WORDS[token] for token in by_text.tokens)
    assert by_text.finish == "length" and len(by_text.tokens) == 9


def test_samples_are_those_of_single_calls_and_differ(engine):
    many = engine.generate("ab", samples=3, temperature=1.0, seed=4, max_new_tokens=12)
    assert len({tuple(answer.tokens) for answer in many}) > 1
    again = engine.generate(["b", "ab"], method="plain", samples=3, temperature=1.0, seed=4, max_new_tokens=12)
    assert [answer.tokens for answer in again[3:]] == [answer.tokens for answer in many]


def test_a_bad_prompt_does_not_stop_the_others(engine):
    answers = engine.generate(["ab", "", "c"], max_new_tokens=5)
    assert [answer.finish for answer in answers] == ["length", "error", "length"]
    assert isinstance(answers[1].error, InvalidRequest)
    assert answers[2].tokens == engine.generate("c", max_new_tokens=5).tokens
    assert [answer.finish for answer in engine.generate(["", ""])] == ["error", "error"]


@pytest.mark.parametrize(
    ("prompt", "settings", "message"),
    [
        ("", {}, "prompt is empty"),
        ([], {}, "no prompt"),
        (None, {}, "a NoneType is no prompt"),
        (torch.zeros(1, 1, 1), {}, "an array of 3 dimensions is no prompt"),
        ("ab", {"method": 3}, "3 is no method"),
        ("ab", {"method": "lookup+suffix"}, "two of a kind, drafter"),
        ([99], {}, "outside of the vocabulary"),
        ([1] * 5000, {}, "positions"),
        ("ab", {"max_new_tokens": 0}, "max_new_tokens"),
        ("ab", {"temperature": -1}, "temperature"),
        ("ab", {"top_p": 0}, "top"),
        ("ab", {"repetition_penalty": 0}, "repetition"),
        ("ab", {"banned_tokens": [77]}, "outside of the vocabulary"),
        ("ab", {"banned_tokens": range(6)}, "every token is banned"),
        ("ab", {"samples": 0}, "samples"),
        ("ab", {"stop": [""]}, "stop string"),
        ("ab", {"temprature": 1}, "no setting 'temprature' .hint: did you mean 'temperature'"),
        ("ab", {"temperature": "hot"}, "wrong kind"),
        ("ab", {"max_new_tokens": "many"}, "wrong kind"),
        ("ab", {"logit_bias": [1, 2]}, "wrong kind"),
        ([{"role": "user"}], {}, "role or content"),
    ],
)
def test_bad_requests_are_refused_with_a_hint(engine, prompt, settings, message):
    with pytest.raises(InvalidRequest, match=message) as caught:
        engine.generate(prompt, **settings)
    assert caught.value.hint and "\n" not in str(caught.value)


def test_a_cache_beyond_the_memory_is_refused_before_any_work():
    model = TableModel.random(4, 0)
    model.max_positions = 10**13
    with pytest.raises(OutOfMemory, match="GiB are free"):
        Engine(model, clock=SimulatedClock()).generate([1], max_new_tokens=10**12)


@pytest.mark.parametrize("prompt", [[1], [[1], [2]], [[1], []]])
@pytest.mark.parametrize("settings", [{"samples": 10**9}, {"samples": 10**15}])
def test_nothing_is_made_for_rows_that_do_not_fit(prompt, settings):
    """Admission comes first: nothing grows with what is asked for before it is refused."""
    engine = Engine(TableModel.random(4, 0), clock=SimulatedClock())
    engine.generate([1], max_new_tokens=2)  # what is loaded at the first call is loaded
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB at the highest: of tensors as well
    tracemalloc.start()
    try:
        with pytest.raises(OutOfMemory, match="GiB are free"):
            engine.generate(prompt, max_new_tokens=8, **settings)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**16


def test_a_draft_that_fills_masks_is_refused():
    engine = Engine.load("zoo/causal")
    for method in ("draft(model=zoo/masked)", "fuse(lookup,draft(model=zoo/masked))", "entropy(small=zoo/masked)"):
        with pytest.raises(Unsupported, match=r"'zoo/masked' fills masks, and .*causal continues text"):
            engine.generate("one two", method, max_new_tokens=2)


def test_a_draft_of_another_vocabulary_is_refused(engine):
    from stretto.method import parse
    from stretto.speculate.drafters.model import DraftModel
    from stretto.speculate.loop import Speculate

    plain = parse("plain")
    with pytest.raises(Unsupported, match="4 tokens, the target 6"):
        engine.generate("ab", Speculate(DraftModel(TableModel.random(4, 0)), plain.accept, plain.plan))


@pytest.mark.parametrize("method", ["plain", "lookup+fixed(4)", "lookup(matches=3)"])
@pytest.mark.parametrize("stop", ["c", "b ", ["zz", "ac"], ["ab"]])
def test_stop_strings_cut_the_same_text_with_every_method(engine, method, stop):
    whole = engine.generate("ab", method="plain", max_new_tokens=40, temperature=1.0, seed=2).text
    cut = engine.generate("ab", method=method, max_new_tokens=40, temperature=1.0, seed=2, stop=stop)
    stops = [stop] if isinstance(stop, str) else stop
    ends = [(whole.find(s) + len(s), whole.find(s)) for s in stops if s in whole]
    assert cut.text == (whole[: min(ends)[1]] if ends else whole)
    assert cut.finish == ("stop" if ends else "length")


def test_end_tokens_and_their_minimum(engine):
    plain = engine.generate("ab", max_new_tokens=40, temperature=1.0, end_tokens=())
    end = plain.tokens[5]
    first = plain.tokens.index(end)
    ended = engine.generate("ab", max_new_tokens=40, temperature=1.0, end_tokens=[end])
    assert ended.tokens == plain.tokens[: first + 1] and ended.finish == "end"
    assert ended.text == "".join(WORDS[token] for token in plain.tokens[:first])
    later = engine.generate("ab", max_new_tokens=40, temperature=1.0, end_tokens=[end], min_new_tokens=first + 3)
    assert end not in later.tokens[: first + 3]


@pytest.mark.parametrize("method", ["plain", "lookup+fixed(4)"])
def test_a_stream_adds_up_to_the_generation(engine, method):
    settings = {"max_new_tokens": 30, "temperature": 1.0, "seed": 1, "stop": "cc"}
    stream = engine.stream("ab", method, **settings)
    pieces = list(stream)
    whole = engine.generate("ab", method, **settings)
    assert "".join(piece.text for piece in pieces) == whole.text == stream.generation.text
    assert [token for piece in pieces for token in piece.tokens] == whole.tokens
    assert stream.generation.finish == whole.finish


def test_both_log_probabilities_are_those_of_the_definition(engine):
    import torch

    settings = {"max_new_tokens": 6, "temperature": 0.5, "seed": 3, "log_probabilities": 2}
    answer = engine.generate("ab", "lookup+fixed(3)", **settings)
    assert answer.log_probabilities == engine.generate("ab", "plain", **settings).log_probabilities
    path = list(answer.prompt_tokens)
    for entry in answer.log_probabilities:
        logits = torch.tensor(engine.model.rule(tuple(path)), dtype=torch.float64)
        assert entry.raw == pytest.approx(float(logits.log_softmax(-1)[entry.token]))
        assert entry.steered == pytest.approx(float((logits / 0.5).log_softmax(-1)[entry.token]))
        assert [token for token, _ in entry.top_raw] == logits.topk(2).indices.tolist()
        path.append(entry.token)
    assert engine.generate("ab", max_new_tokens=2).log_probabilities is None


def test_an_interrupt_keeps_the_partial_text(engine, monkeypatch):
    evaluate, calls = engine.model.evaluate, []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return evaluate(*args)

    monkeypatch.setattr(engine.model, "evaluate", interrupted)
    answer = engine.generate("ab", "plain", max_new_tokens=30)
    assert answer.finish == "interrupt" and len(answer.tokens) == 4
    assert answer.text == "".join(WORDS[token] for token in answer.tokens)


def test_the_trace_tells_who_guessed_what(engine, tmp_path):
    answer = engine.generate([0, 1, 0, 1, 0], "lookup+fixed(4)", max_new_tokens=20, logit_bias={0: 9.0, 1: 9.0})
    assert [token for step in answer.steps for token in step.committed] == answer.tokens
    for step in answer.steps:
        guessed = [step.drafted[node] for node in step.accepted]
        assert guessed == step.committed[: len(guessed)]
        assert step.sources == ["lookup"] * len(guessed) + [""] * (len(step.committed) - len(guessed))
    assert answer.counters.accepted == sum(len(step.accepted) for step in answer.steps) > 0
    answer.save_trace(tmp_path / "trace.json")
    record = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))
    assert record["tokens"] == answer.tokens and len(record["steps"]) == answer.counters.rounds


def test_the_limit_of_positions_is_kept(engine, monkeypatch):
    engine.model.max_positions = 12
    evaluate = engine.model.evaluate

    def bounded(window, *args):
        assert int(window.positions.max()) < 12
        return evaluate(window, *args)

    monkeypatch.setattr(engine.model, "evaluate", bounded)
    answer = engine.generate([0, 1, 2, 3, 4, 5, 0, 1, 2], "lookup+fixed(8)", max_new_tokens=50)
    assert len(answer.tokens) == 3 and answer.finish == "length"
