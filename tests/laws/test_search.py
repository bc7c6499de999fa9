"""What every search must keep: of one branch it is plain decoding, drafts change nothing, answers come as asked for."""

from __future__ import annotations

import gc
import itertools
import math

import pytest
import torch

from laws.test_constraints import Pairs
from stretto import catalogue
from stretto.engine import Engine
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.search.loop import Loop

V = 6
MODEL = TableModel.random(V, seed=4, order=3)
PROMPT = [0, 1, 2, 0, 1, 2]
SETTINGS = {"max_new_tokens": 14, "end_tokens": (4,)}
CHANCE = {"temperature": 1.0, "seed": 3}
SEARCHES = {  # of one branch; with several; what must be set
    "beam": ("beam(1)", ["beam(3)", "beam(4,groups=2,penalty=0)", "beam(3,norm=gnmt,early=true)"], {}),
    "best-of": ("best-of(1)", ["best-of(4)", "best-of(3,matches(3 5))"], CHANCE),
    "vote": ("vote(1)", ["vote(4,[1-3])", "vote(5,3 (.),weights=matches(3 5))"], CHANCE),
    "guided": (
        "guided(1,1)",
        [
            "guided(4,2,segmenter=every(3))",
            "guided(4,1,segmenter=at-tokens(3,5))",
            "guided(6,3,segmenter=at-pattern(3 5))",
            "guided(4,2,segmenter=at-doubt(1.2,least=2))",
        ],
        CHANCE,
    ),
    "refine": (
        "refine(1,critic=again(1))",
        [
            "refine(3,paths=2,critic=again(1 2),scorer=matches(1 1))",
            "refine(2,keep=last,show=last,first=3,critic=again(3))",
            "refine(4,critic=again(1 2,enough=2),show=extremes,scorer=matches(1 1))",
            "refine(4,critic=doubt(0,1,2,0.4,3),scorer=matches(5 3))",
        ],
        CHANCE,
    ),
    "smc": (
        "smc(1)",
        [
            "smc(4,alpha=3,segmenter=every(2),least=0)",
            "smc(4,segmenter=every(3),least=0.7,whole=false)",
            "smc(3,beta=2,scorer=matches(3 5),segmenter=every(3),least=1)",
        ],
        CHANCE,
    ),
    "blockwise": (
        "blockwise(1)",
        ["blockwise(3,segmenter=every(3))", "blockwise(4,matches(3 5),segmenter=at-pattern(3 5))"],
        CHANCE,
    ),
    "ppo-mcts": ("ppo-mcts(simulations=1)", ["ppo-mcts(3,5)", "ppo-mcts(4,6,c=1,scorer=matches(3 5))"], {}),
    "pg-td": ("pg-td(simulations=1)", ["pg-td(3,12)", "pg-td(2,9,c=1,scorer=matches(3 5),enough=1)"], {}),
    "transfer-q": ("transfer-q(weight=0)", ["transfer-q(3,far=3)", "transfer-q(2,6.0,0,scorer=matches(3 5))"], {}),
    "vm-mcts": (
        "vm-mcts(1,simulations=1)",
        [
            "vm-mcts(3,2,4,segmenter=every(3))",
            "vm-mcts(6,3,6,scorer=matches(5),segmenter=every(2))",
            "vm-mcts(2,2,6,scorer=matches(3 5),segmenter=at-tokens(3,5))",
        ],
        CHANCE,
    ),
    "cntp": (
        "cntp(1)",
        ["cntp(4,high=1.2,far=3)", "cntp(3,until=3,by=raw)"],
        CHANCE,
    ),
    "adadec": ("adadec(nats=inf)", ["adadec(3,1.4,ahead=3)", "adadec(2,0,ahead=2,until=5)"], {}),
    "cards": (
        "cards(tries=1)",
        [
            "cards(goal=-0.5,beta=0.3,nats=1.3,least=1,most=4)",
            "cards(matches(3 5),2,0.2,tries=4,nats=1.5,least=2,most=6)",
        ],
        CHANCE,
    ),
    "a-star": (
        "a-star(1)",
        ["a-star(3,6,segmenter=every(3))", "a-star(2,4,matches(3 5),segmenter=at-tokens(3,5))"],
        CHANCE,
    ),
    "gad": ("gad", ["gad(width=2)", "gad(tries=4)"], CHANCE),
    "augment": ("augment(0)", [], {}),  # tests/search/test_augment.py
    "contrastive": ("contrastive(alpha=0)", [], {}),  # tests/search/test_contrastive.py
    "reflect": ("reflect(checks=0)", [], CHANCE),  # tests/search/test_reflect.py
    "soft": ("soft(tokens=0)", [], {}),  # tests/search/test_soft.py
    "superposed": ("superposed(alpha=0)", [], {}),
}
WIDE = [(method, given) for _, wide, given in SEARCHES.values() for method in wide]


def engine(model=MODEL):
    return Engine(model, clock=SimulatedClock())


def said(answers):
    return [(answer.tokens, answer.finish) for answer in (answers if isinstance(answers, list) else [answers])]


def test_every_search_is_here():
    assert set(SEARCHES) == {part.name for part in catalogue.parts().values() if part.kind == "search"}


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("steered", [{}, {"repetition_penalty": 1.4, "banned_tokens": [2]}])
def test_one_branch_is_plain_decoding(name, steered):
    one, _, given = SEARCHES[name]
    for prompt in (PROMPT, [3], [2, 5, 1]):
        settings = SETTINGS | given | steered
        assert said(engine().generate(prompt, one, **settings)) == said(engine().generate(prompt, "plain", **settings))


@pytest.mark.parametrize(("method", "given"), WIDE, ids=[method for method, _ in WIDE])
def test_drafts_change_nothing(method, given):
    settings = {**SETTINGS, **given, "samples": 2, "log_probabilities": 1}
    prompts = [PROMPT, [3, 3, 3, 3, 3], [5, 0, 1]]
    plain = engine().generate(prompts, method, **settings)
    # every token that any branch may take is drafted, three deep: rounds are saved for certain
    for drafter in ("lookup", "suffix", "jacobi", "recycle+fixed(40,depth=3)"):
        drafted = engine().generate(prompts, f"{method}+{drafter}", **settings)
        assert said(drafted) == said(plain)
        for mine, other in zip(drafted, plain, strict=True):
            ours = [(each.token, each.raw, each.steered) for each in mine.log_probabilities]
            theirs = [(each.token, each.raw, each.steered) for each in other.log_probabilities]
            assert ours == theirs
        assert drafted[0].counters.rounds <= plain[0].counters.rounds


@pytest.mark.parametrize(("method", "given"), WIDE, ids=[method for method, _ in WIDE])
@pytest.mark.parametrize("ends", [(4,), ()])
def test_every_branch_obeys_a_constraint(method, given, ends):
    """Tokens 0 and 1 in pairs of equal ones, eight in all at most."""
    settings = {**given, "samples": 3, "max_new_tokens": 12, "end_tokens": ends, "constraint": Pairs()}
    found = engine().generate([PROMPT, [3]], method, **settings)
    assert said(engine().generate([PROMPT, [3]], f"{method}+lookup", **settings)) == said(found)
    # particles of a model that would rather say nothing come to say nothing, all of them; so do what it draws itself
    assert method.endswith(("least=1)", "tries=4)")) or len({tuple(answer.tokens) for answer in found}) > 1
    for answer in found:
        held = [token for token in answer.tokens if token not in ends]
        assert answer.finish == "end" and set(held) <= {0, 1} and len(held) <= 8
        assert held[::2] == held[1::2]


def test_drafts_that_are_right_save_rounds_of_a_beam():
    looped = TableModel(V, lambda path: [6.0 if token == (path[-1] + 1) % V else 0.1 * token for token in range(V)])
    settings = {"max_new_tokens": 30, "end_tokens": ()}
    plain = engine(looped).generate(PROMPT, "beam(2,penalty=0)", **settings)
    drafted = engine(looped).generate([*range(V)] * 2, "beam(1)+lookup+fixed(5)", **settings)
    assert drafted.counters.rounds <= 10 < 30 == plain.counters.rounds
    assert drafted.counters.accepted >= 20 and set(drafted.steps[0].sources) == {"lookup", ""}


@pytest.mark.parametrize(("method", "given"), WIDE, ids=[method for method, _ in WIDE])
@pytest.mark.parametrize("samples", [1, 2, 5])
def test_there_are_as_many_answers_as_asked_for_and_the_best_come_first(method, given, samples):
    found = engine().generate([PROMPT], method, samples=samples, **SETTINGS, **given)
    assert len(found) == samples and all(answer.finish in ("end", "length") for answer in found)
    if samples > 1:
        fewer = engine().generate([PROMPT], method, samples=1, **SETTINGS, **given)
        assert method.startswith("beam(3)") or len({tuple(answer.tokens) for answer in found}) > 1 or len(fewer) == 1


def likeliest(model, prompt, size, ends=()):
    """Every answer of up to `size` tokens with its log-probability, by enumeration."""
    found = []
    for tokens in itertools.product(range(model.vocabulary), repeat=size):
        cut = next((at + 1 for at, token in enumerate(tokens) if token in ends), size)
        found.append(tokens[:cut])
    scored = {}
    for tokens in set(found):
        logits = [model.rule((*prompt, *tokens[:at])) for at in range(len(tokens))]
        scored[tokens] = sum(
            float(torch.tensor(row, dtype=torch.float32).double().log_softmax(-1)[token])
            for row, token in zip(logits, tokens, strict=True)
        )
    return scored


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_a_beam_that_is_wide_enough_finds_the_best_of_all_answers(penalty):
    small = TableModel.random(4, seed=7, order=2)
    found = engine(small).generate(
        [[1, 2]], f"beam(64,penalty={penalty})", samples=6, max_new_tokens=4, end_tokens=(3,)
    )
    scored = likeliest(small, (1, 2), 4, ends=(3,))
    ranked = sorted(scored, key=lambda tokens: -scored[tokens] / len(tokens) ** penalty)[:6]
    assert [tuple(answer.tokens) for answer in found] == ranked


def slow_beam(prompt, width, size, penalty, ends, rule):
    """Beams over whole texts, no cache: every pair of branch and token is ranked."""
    alive, finished = [((), 0.0)], []
    for _ in range(size):
        pairs = []
        for tokens, score in alive:
            row = rule((*prompt, *tokens))
            pairs += [((*tokens, token), score + row[token]) for token in range(len(row))]
        pairs.sort(key=lambda pair: -pair[1])
        finished += [pair for pair in pairs[:width] if pair[0][-1] in ends]
        alive = [pair for pair in pairs if pair[0][-1] not in ends][:width]
        worths = sorted((score / len(tokens) ** penalty for tokens, score in finished), reverse=True)[:width]
        hopes = [score / max(len(tokens) + 1, size) ** penalty for tokens, score in alive]
        if len(worths) == width and max(hopes) <= worths[-1]:
            alive = []
            break
    ranked = sorted(finished + alive, key=lambda pair: -pair[1] / len(pair[0]) ** penalty)
    return [list(tokens) for tokens, _ in ranked]


@pytest.mark.parametrize("width", [2, 3, 5])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_beams_against_a_slow_reference(width, penalty):
    def rule(path):
        return torch.tensor(MODEL.rule(path), dtype=torch.float32).double().log_softmax(-1).tolist()

    for prompt in ([0], [3, 3], [5, 1, 2]):
        found = engine().generate(
            [prompt], f"beam({width},penalty={penalty})", samples=width, max_new_tokens=10, end_tokens=(4,)
        )
        assert [answer.tokens for answer in found] == slow_beam(prompt, width, 10, penalty, (4,), rule)[:width]


def test_the_best_of_n_is_the_best_of_as_many_samples():
    settings = SETTINGS | CHANCE
    drawn = engine().generate([PROMPT], "plain", samples=5, log_probabilities=0, **settings)
    ranked = sorted(drawn, key=lambda answer: -sum(each.raw for each in answer.log_probabilities) / len(answer.tokens))
    found = engine().generate([PROMPT], "best-of(5)+lookup", samples=3, **settings)
    assert said(found) == said(ranked[:3])
    assert found[0].counters.row_forwards == sum(answer.counters.row_forwards for answer in drawn)


def test_a_search_that_is_over_holds_nothing():
    served = engine()
    loops = []
    for method, given in WIDE:
        tickets = served._submit([PROMPT], served._call(method, SETTINGS | given), strict=True)[1]
        loops += [ticket.loop for ticket in tickets]
        served._scheduler.run(lambda tickets=tickets: all(ticket.status == "ended" for ticket in tickets))
    assert all(isinstance(loop, Loop) and not loop.branches.rows and not loop.branches.groups for loop in loops)
    assert all(not loop.cache.rows and not loop.branches.works for loop in loops)
    gc.collect()


@pytest.mark.parametrize("method", ["beam(4)", "best-of(4)", "guided(4,2,segmenter=every(3))"])
def test_what_a_search_may_take_is_a_bound_and_the_best_so_far_is_the_answer(method):
    given = {} if method.startswith("beam") else CHANCE
    settings = {"max_new_tokens": 30, "end_tokens": (), **given}
    for bound, spent in (("rounds=5", lambda c: c.rounds), ("tokens=18", lambda c: c.token_forwards)):
        most = int(bound.split("=")[1])
        answer = engine().generate(PROMPT, f"{method[:-1]},within=within({bound}))", **settings)
        assert answer.finish == "budget" and 0 < len(answer.tokens) < 30
        assert most <= spent(answer.counters) < most + 4
    whole = engine().generate(PROMPT, method, **settings)
    assert whole.finish == "length" and math.isfinite(whole.counters.seconds)
