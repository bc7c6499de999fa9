from __future__ import annotations

import math
import random
from functools import cache as remember

import numpy as np
import pytest
import torch

from models.families import FAMILIES, VOCABULARY
from search.test_grams import by_counting
from stretto import method
from stretto.engine import Engine
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.fast import lean_or_none
from stretto.models.table import TableModel
from stretto.models.window import RAW, Window
from stretto.request import Request
from stretto.row import Limits, Row
from stretto.search.contract import Branch, Group
from stretto.search.grams import Grams
from stretto.search.loop import Searched, agreed
from stretto.search.superposed import LAST_RESORT, Superposed, Superposing, mixing_weights
from stretto.steer.choice import Rule
from stretto.steer.path import History

TABLE = TableModel.random(6, 3)
DOCUMENTS = [[(7 * at * at + at // 3) % 97 for at in range(400)], [at % 5 for at in range(90)]]
GRAMS = Grams(DOCUMENTS, VOCABULARY)
PROMPTS = [[5, 17, 3], [1, 2, 3, 4, 0, 1, 2], [9]]


@remember
def network():
    model = lean_or_none(FAMILIES["llama"](), print)
    assert model is not None
    return model


def engine(model):
    return Engine(model, clock=SimulatedClock())


# -- one draft ------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"end_tokens": [5]}, {"repetition_penalty": 1.5, "banned_tokens": [2]}])
def test_one_draft_without_grams_is_greedy_decoding(settings):
    settings = {"max_new_tokens": 20, "end_tokens": (), **settings}
    prompts = [[0, 1, 2], [3], [2, 2, 1, 0, 3, 1]]
    drafts = engine(TABLE).generate(prompts, Searched(Superposed(alpha=0)), **settings)
    plain = engine(TABLE).generate(prompts, "plain", **settings)
    assert [(draft.tokens, draft.finish) for draft in drafts] == [(row.tokens, row.finish) for row in plain]
    assert all(step.sources == [""] for draft in drafts for step in draft.steps)


def test_one_draft_with_grams_is_greedy_decoding_adjusted_by_them():
    chance = random.Random(5)
    documents = [[chance.randrange(6) for _ in range(600)]]
    route = Superposed(text=Grams(documents, 6), sharpness=0.5, kept=4)
    answer = engine(TABLE).generate([0, 1], Searched(route), max_new_tokens=15, end_tokens=())
    plain = engine(TABLE).generate([0, 1], Searched(Superposed(alpha=0)), max_new_tokens=15, end_tokens=())
    assert answer.tokens != plain.tokens
    path = [0, 1]
    for token in answer.tokens:
        scores = by_hand(torch.tensor(TABLE.rule(tuple(path))), path, documents, route, kept=4)
        assert token == max(scores, key=lambda candidate: scores[candidate])
        path.append(token)


def by_hand(logits, path, documents, settings, kept):
    """What each kept token adds to a draft's score."""
    sharp = (logits.double() / settings.sharpness).softmax(-1)
    best = sorted(range(len(sharp)), key=lambda token: -sharp[token])[:kept]
    mass = sum(float(sharp[token]) for token in best)
    grams = {token: by_counting(documents, path, token, settings.weights) for token in best}
    scores = {}
    for token in best:
        model = (1 - settings.alpha) * math.log(max(float(sharp[token]) / mass, 1e-300))
        if grams[token] > 0:
            scores[token] = model + settings.alpha * math.log(grams[token])
        else:
            scores[token] = model + (LAST_RESORT if any(grams.values()) else -settings.penalty)
    return scores


def test_a_stream_and_a_stop():
    settings = {"max_new_tokens": 12, "end_tokens": ()}
    whole = engine(TABLE).generate([0, 1], Searched(Superposed(alpha=0)), **settings)
    stream = engine(TABLE).stream([0, 1], Searched(Superposed(alpha=0)), **settings)
    pieces = list(stream)
    assert [token for piece in pieces for token in piece.tokens] == whole.tokens
    assert len([piece for piece in pieces if piece.tokens]) == 12


def test_stop_strings_cut_each_draft():
    """Without a tokenizer, text is the ids between spaces."""
    settings = {"max_new_tokens": 8, "end_tokens": ()}
    for model, samples in ((TABLE, 1), (network(), 3)):
        whole = engine(model).generate([[0, 1]], Searched(Superposed(alpha=0)), samples=samples, **settings)
        stop = str(whole[-1].tokens[3])
        cut = engine(model).generate([[0, 1]], Searched(Superposed(alpha=0)), samples=samples, stop=stop, **settings)
        assert [draft.text for draft in cut] == [draft.text.partition(stop)[0] for draft in whole]
        assert cut[-1].finish == "stop" and len(cut[-1].tokens) <= 4


# -- several drafts -----------------------------------------------------------------------------------


def slowly(prompt, wanted, settings, new_tokens, ends=frozenset()):
    """No cache: each step evaluates prompt and mixtures anew, and ranks every pair of draft and token."""
    model = network()
    alive, finished, mixtures = [((), 0.0)], [], []
    for _ in range(new_tokens):
        size = len(prompt) + len(mixtures)
        embeds = torch.zeros(1, size, model.channels)
        for at, mixture in enumerate(mixtures):
            embeds[0, len(prompt) + at] = mixture
        tokens = torch.tensor([[*prompt, *[RAW] * len(mixtures)]])
        cache = model.new_cache()
        window = Window([cache.open()], tokens, torch.arange(size)[None], [size], embeds=embeds)
        logits = model.evaluate(window, cache).logits[0, -1]
        pairs = []
        for done, score in alive:
            kept = max(settings.kept, 2 * wanted)
            added = by_hand(logits, [*prompt, *done], DOCUMENTS, settings, kept)
            pairs += [((*done, token), score + more) for token, more in added.items()]
        pairs.sort(key=lambda pair: -pair[1])
        finished += [pair for pair in pairs[:wanted] if pair[0][-1] in ends]
        finished = sorted(finished, key=lambda pair: -pair[1])[:wanted]
        alive = [pair for pair in pairs if pair[0][-1] not in ends][:wanted]
        if len(finished) == wanted and alive[0][1] <= finished[-1][1]:
            break
        weights = torch.tensor([score for _, score in alive], dtype=torch.float64).softmax(-1)
        mixtures.append(weights.float() @ model.embed(torch.tensor([done[-1] for done, _ in alive])))
    return [list(done) for done, _ in sorted(finished + alive, key=lambda pair: -pair[1])[:wanted]]


@pytest.mark.parametrize(("wanted", "sharpness"), [(1, 1.0), (2, 1.0), (3, 0.3), (5, 2.0)])
def test_drafts_against_a_slow_reference(wanted, sharpness):
    settings = Superposed(text=GRAMS, sharpness=sharpness)
    found = engine(network()).generate(PROMPTS, Searched(settings), samples=wanted, max_new_tokens=9, end_tokens=())
    for at, prompt in enumerate(PROMPTS):
        drafts = [draft.tokens for draft in found[at * wanted : (at + 1) * wanted]]
        assert drafts == slowly(prompt, wanted, settings, 9)
        assert len({tuple(draft) for draft in drafts}) == wanted


def test_finished_drafts_are_kept_and_end_the_search():
    settings = Superposed(text=GRAMS, sharpness=2.0, alpha=0.2)
    unended = engine(network()).generate(PROMPTS[0], Searched(settings), samples=3, max_new_tokens=9, end_tokens=())
    lengths = set()
    for ends in ({unended[0].tokens[3], unended[1].tokens[5]}, {unended[2].tokens[0]}, {unended[1].tokens[1]}):
        found = engine(network()).generate(PROMPTS[0], Searched(settings), samples=3, max_new_tokens=9, end_tokens=ends)
        assert [draft.tokens for draft in found] == slowly(PROMPTS[0], 3, settings, 9, ends)
        assert "end" in {draft.finish for draft in found}
        assert all((draft.finish == "end") == (draft.tokens[-1] in ends) for draft in found)
        lengths.add(found[0].counters.rounds)
    assert min(lengths) < 9  # a search ends when nothing alive can get among the best


def test_forwards_do_not_depend_on_the_number_of_drafts():
    for samples in (1, 2, 5):
        answers = engine(network()).generate(
            PROMPTS[0], Searched(Superposed(alpha=0)), samples=samples, max_new_tokens=8, end_tokens=()
        )
        answers = [answers] if samples == 1 else answers
        assert sum(answer.counters.token_forwards for answer in answers) == 8
        assert [answer.counters.rounds for answer in answers] == [8] * samples
        assert [[token for step in answer.steps for token in step.committed] for answer in answers] == [
            answer.tokens for answer in answers
        ]


def test_log_probabilities_of_each_draft():
    settings = Superposed(text=GRAMS, sharpness=1.0)
    found = engine(network()).generate(
        PROMPTS[0], Searched(settings), samples=2, max_new_tokens=5, end_tokens=(), log_probabilities=3
    )
    for draft in found:
        assert [entry.token for entry in draft.log_probabilities] == draft.tokens
        assert all(-50 < entry.steered <= 0 and -50 < entry.raw < 0 for entry in draft.log_probabilities)
        assert all(len(entry.top_raw) == 3 for entry in draft.log_probabilities)
    first = found[0].log_probabilities[0].top_steered
    prompt = PROMPTS[0]
    cache = network().new_cache()
    logits = network().evaluate(Window.chain([cache.open()], [prompt], [0], torch.device("cpu")), cache).logits[0, -1]
    scores = by_hand(logits, prompt, DOCUMENTS, settings, 9)
    total = torch.tensor(list(scores.values())).logsumexp(0)
    best = sorted(((token, score - float(total)) for token, score in scores.items()), key=lambda pair: -pair[1])[:3]
    assert [token for token, _ in first] == [token for token, _ in best]
    assert [value for _, value in first] == pytest.approx([value for _, value in best], rel=1e-3, abs=1e-4)


def test_few_allowed_tokens_still_give_different_drafts():
    found = engine(network()).generate(
        PROMPTS[0], Searched(Superposed(text=GRAMS)), samples=3, max_new_tokens=4, allowed_tokens=[7, 8], end_tokens=()
    )
    assert len({tuple(draft.tokens) for draft in found}) == 3
    assert {token for draft in found for token in draft.tokens} == {7, 8}
    (only, again) = engine(network()).generate(
        PROMPTS[0], Searched(Superposed(text=GRAMS)), samples=2, max_new_tokens=4, allowed_tokens=[7], end_tokens=()
    )
    assert only.tokens == again.tokens == [7] * 4  # there is no other


def test_an_interrupt_hands_out_the_best_so_far(monkeypatch):
    evaluate, calls = network().evaluate, []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return evaluate(*args)

    monkeypatch.setattr(network(), "evaluate", interrupted)
    found = engine(network()).generate(PROMPTS[0], Searched(Superposed(text=GRAMS)), samples=2, max_new_tokens=9)
    assert [(len(draft.tokens), draft.finish) for draft in found] == [(3, "interrupt")] * 2


# -- the mixture --------------------------------------------------------------------------------------


def test_mixing_weights():
    weights = mixing_weights([Branch((1,), 0.0), Branch((2,), math.log(0.5))])
    assert weights.tolist() == pytest.approx([2 / 3, 1 / 3])
    weights = mixing_weights([Branch((1,), -300.0), Branch((2,), -301.0), Branch((3,), -320.0)])
    assert float(weights.sum()) == pytest.approx(1.0)


def test_drafts_that_end_in_one_token_are_read_as_that_token():
    cache = network().new_cache()
    searching = Superposing(Superposed(alpha=0), engine(network()).context(), cache)
    row = Row(History([4, 8]), cache.open(), Rule(Request().pipeline(frozenset())), Limits(9))
    group = Group([row], row, alive=[Branch((3, 6), -1.0), Branch((5, 6), -2.0)])
    window = searching._window([group])
    assert window.tokens.tolist() == [[6]] and window.embeds is None and window.positions.tolist() == [[3]]
    group.alive = [Branch((3, 6), 0.0), Branch((5, 7), math.log(0.5))]
    window = searching._window([group])
    expected = network().embed(torch.tensor([6, 7]))
    assert window.tokens.tolist() == [[RAW]]
    assert torch.allclose(window.embeds[0, 0], (2 * expected[0] + expected[1]) / 3)


def test_what_all_branches_share():
    branches = [Branch((1, 2, 3, 4)), Branch((1, 2, 5)), Branch((1, 2, 3))]
    assert agreed(branches, 0) == 2 == agreed(branches, 1)
    assert agreed(branches[::2], 0) == 3 and agreed([Branch((1,)), Branch((2,))], 0) == 0


# -- the door -----------------------------------------------------------------------------------------


def test_what_it_cannot_serve_is_refused():
    with pytest.raises(Unsupported, match="leave the temperature at 0"):
        engine(TABLE).generate([1], Searched(Superposed(alpha=0)), temperature=0.5)
    with pytest.raises(Unsupported, match="takes no mixed embeddings"):
        engine(TABLE).generate([1], Searched(Superposed(alpha=0)), samples=2)
    with pytest.raises(InvalidRequest, match="no text to count n-grams in"):
        engine(TABLE).generate([1], "superposed")
    with pytest.raises(InvalidRequest, match="decodes by itself"):
        method.parse("superposed+fixed(3)")


@pytest.mark.parametrize(
    "settings",
    [{"alpha": 1.5}, {"sharpness": 0}, {"kept": 0}, {"penalty": -1}, {"weights": (0.9, 0.9)}, {"weights": (0.1,) * 6}],
)
def test_settings_out_of_range(settings):
    with pytest.raises(InvalidRequest) as caught:
        Superposed(**settings)
    assert caught.value.hint


def test_a_text_file_or_folder_is_counted_once(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("0 1 2 3 4 5 0 2 4 1 3 5", encoding="utf-8")
    (tmp_path / "b.txt").write_text("5 0 1 1 2", encoding="utf-8")
    whole = Grams([[0, 1, 2, 3, 4, 5, 0, 2, 4, 1, 3, 5], [5, 0, 1, 1, 2]], 6)
    table = engine(TABLE)
    settings = {"max_new_tokens": 12, "end_tokens": ()}
    found = table.generate([0, 1], f"superposed(text={tmp_path},sharpness=0.5)", **settings)
    assert found.tokens == table.generate([0, 1], Searched(Superposed(text=whole, sharpness=0.5)), **settings).tokens
    one = table.generate([0, 1], f"superposed(text={tmp_path}/a.txt,sharpness=0.5)", **settings)
    assert one.method == f"superposed(text={tmp_path}/a.txt,sharpness=0.5)"
    counted = len(table._memory)
    table.generate([0, 1], f"superposed(text={tmp_path},sharpness=0.5)", **settings)
    assert len(table._memory) == counted == 2
    (tmp_path / "torn.txt").write_bytes(b"\xff\xfe\xfa")
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    for name, message in (("torn", "UTF-8"), ("empty", "no text in"), ("absent", "no text")):
        with pytest.raises(InvalidRequest, match=message):
            table.generate([0, 1], f"superposed(text={tmp_path}/{name}.txt)")


def test_the_best_of_a_group_come_first_and_the_last_stands_for_what_there_is_not():
    group = Group([None] * 3, None, alive=[Branch((1,), worth=-2.0)], finished=[Branch((2,), worth=-1.0)])
    assert [branch.tokens for branch in group.best] == [(2,), (1,), (1,)]
    assert np.isclose(group.best[0].worth, -1.0)
