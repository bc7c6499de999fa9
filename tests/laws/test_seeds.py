"""A seed reproduces: the tokens of a call depend on the call alone, whichever acceptor judges and whoever drafts."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from laws.test_acceptors import drawn
from laws.test_speculation import DRAFT, PROMPTS, V, registered
from laws.worlds import GREEDY, LastTwo, decode
from stretto import catalogue, method, zoo
from stretto.engine import Engine
from stretto.entry import Guarantee
from stretto.errors import Unsupported
from stretto.models.clock import Clock
from stretto.noise import uniform_one
from stretto.speculate import chance
from stretto.speculate.acceptors.rejection import Rejection
from stretto.speculate.chance import ACCEPTING, KeyedChance
from stretto.speculate.contract import Acceptor, Drafter
from stretto.speculate.drafters.fuse import Fuse
from stretto.speculate.drafters.lookup import Lookup
from stretto.speculate.drafters.pearl import Pearl
from stretto.speculate.drafters.recycle import Recycle
from stretto.speculate.drafters.sampled import Sampled
from stretto.speculate.family import STEADY, usual_plan
from stretto.speculate.loop import Speculate
from stretto.speculate.planners.cheapest import Cheapest
from stretto.speculate.planners.fixed import Fixed
from stretto.steer.choice import Rule
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature
from stretto.tree import Tree

WARM = Pipeline([Temperature(1.0)])
WORLD = LastTwo(V, seed=1)
INEXACT = {  # every registered acceptor with a rule of its own
    name: part()
    for name, part in catalogue.parts().items()
    if part.kind == "acceptor" and part.guarantee is not Guarantee.EXACT
}
WARMTH = {"temperature": 1.0, "seed": 7, "max_new_tokens": 7}
MORE: dict[str, Drafter] = {  # those that go by what they measure, unless they are told not to
    "fuse (measuring)": Fuse((Lookup(), Recycle(2))),
    "pearl (measuring)": Pearl(DRAFT),
}


class Moody(Clock):
    """A clock of which no two answers are alike."""

    def __init__(self, seed: int) -> None:
        self._mood = random.Random(seed)

    def cost(self, tokens: float, rows: int = 1, padding: int = 0) -> float:
        return self._mood.uniform(1e-6, 1.0) * (1 + self._mood.choice([0.0, 3.0]) * tokens)


def engine(seed: int) -> Engine:
    return Engine(WORLD, clock=Moody(seed))


def parts() -> dict[str, Drafter]:
    """Every registered drafter once, those that remember, and every kind of sampled draft."""
    found = {
        name: part for name, part in registered().items() if " (" not in name or name.endswith(("shared)", "cache)"))
    }
    return found | drawn() | MORE


@pytest.mark.parametrize("acceptor", INEXACT.values(), ids=INEXACT)
def test_the_same_call_gives_the_same_tokens(acceptor: Acceptor) -> None:
    """Twice, alone or in a batch or as one of several samples, by a fresh engine or a used one, at any speed."""
    used, tried = engine(0), 0
    for name, drafter in parts().items():
        named = Speculate(drafter, acceptor, usual_plan(acceptor))
        try:
            method.check(named, WORLD)
        except Unsupported:
            continue
        tried += 1
        at = tried % len(PROMPTS)  # the prompts take turns
        alone = engine(tried).generate(PROMPTS[at], named, samples=2, **WARMTH)
        answers = used.generate(PROMPTS, named, samples=2, **WARMTH)[2 * at : 2 * at + 2]
        again = used.generate(PROMPTS[at], named, **WARMTH)
        assert [answer.tokens for answer in answers] == [answer.tokens for answer in alone], name
        assert again.tokens == alone[0].tokens, name
        assert all(answer.repeats for answer in answers)
    assert tried


ZOO = {"sampled": "sampled", "iid": "iid(2,2,1)", "rsd-c": "rsd-c", "rsd-s": "rsd-s", "dyspec": "dyspec", "sjd": "sjd"}
ZOO |= {"draft": "draft", "draft-tree": "draft-tree", "lookup": "lookup", "recycle": "recycle", "auto": "auto"}


@pytest.fixture(scope="module")
def engines() -> tuple[Engine, Engine]:
    if {"causal", "draft"} - set(zoo.names()):
        pytest.skip("the zoo's models are not in this checkout")
    return Engine.load("zoo/causal"), Engine.load("zoo/causal")


@pytest.mark.parametrize("acceptor", sorted(INEXACT))
def test_the_same_call_gives_the_same_tokens_on_the_zoo(acceptor: str, engines: tuple[Engine, Engine]) -> None:
    used, other = engines
    prompts = [used.encode("Sort these numbers: 41 7 23 15 7"), used.encode("red blue green red blue green red")]
    settings = {"temperature": 1.0, "seed": 3, "max_new_tokens": 8}
    for at, drafter in enumerate(ZOO.values()):
        named = f"{drafter}+{acceptor}"
        try:
            together = [answer.tokens for answer in used.generate(prompts, named, **settings)]
        except Unsupported:
            continue
        assert other.generate(prompts[at % 2], named, **settings).tokens == together[at % 2], named


# -- coins --------------------------------------------------------------------------------------


@pytest.mark.parametrize("acceptor", INEXACT.values(), ids=INEXACT)
def test_no_coin_is_tossed_twice(acceptor: Acceptor, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the life of a row: a coin that was looked at once would be known the next time."""
    tossed: Counter[tuple[int, int]] = Counter()
    monkeypatch.setattr(chance, "uniform_one", lambda key, at: tossed.update([(key, at)]) or uniform_one(key, at))
    for name, drafter in parts().items():
        try:
            method.check(Speculate(drafter, acceptor, Fixed(6)), WORLD)
        except Unsupported:
            continue
        for size in (2, 6):
            tossed.clear()
            decode(WORLD, [PROMPTS[0]], drafter=drafter, acceptor=acceptor, planner=Fixed(size), pipeline=WARM, seed=4)
            assert not [coin for coin, times in tossed.items() if times > 1], name


def test_the_coins_of_a_position_do_not_know_where_the_round_began() -> None:
    rule = Rule(WARM, 5, 1)
    near, far = KeyedChance(rule, 9, ACCEPTING).at(2), KeyedChance(rule, 4, ACCEPTING).at(7)
    assert [near.uniform() for _ in range(3)] == [far.uniform() for _ in range(3)]
    attempts = [KeyedChance(rule, 9, ACCEPTING).at(2, 2), KeyedChance(rule, 4, ACCEPTING).at(7, 7)]
    assert len({near.uniform(), *(each.uniform() for each in attempts)}) == 3


@pytest.mark.parametrize("name", ["rejection", "multi", "recursive", "k-seq", "specinfer", "lossy"])
def test_a_position_that_is_drafted_is_judged_the_same_wherever_its_round_began(name: str) -> None:
    acceptor = catalogue.part(name)()
    guesses = [at % 3 for at in range(16)]
    vectors = np.random.default_rng(3).dirichlet([0.3] * 3, 17)
    found: dict[int, set[int]] = {}
    for start in range(3, 15):
        tree = Tree.chain(guesses[start:])
        coins = KeyedChance(Rule(WARM, 2, 0), start, ACCEPTING)
        verdict = acceptor.walk(tree, lambda node, at=start, tree=tree: vectors[at + len(tree.path(node))], coins)
        for at, token in enumerate([*(tree.tokens[node] for node in verdict.path), verdict.extra], start):
            if at < len(guesses):
                found.setdefault(at, set()).add(token)
    assert all(len(tokens) == 1 for tokens in found.values())
    assert any(tokens != {guesses[at]} for at, tokens in found.items())


# -- where nobody can promise it --------------------------------------------------------------------


def test_a_drawing_acceptor_implies_lengths_that_nothing_measures() -> None:
    assert method.parse("sampled+rejection").plan == STEADY == method.parse("lookup+relaxed").plan
    assert method.parse("draft").plan == Cheapest() == method.parse("draft+exact").plan
    for text in ("sampled+rejection", "sampled+rejection+cheapest", "sampled+rejection+fixed", "draft", "draft+fixed"):
        assert method.describe(method.parse(text)) == text
        assert method.parse(method.describe(method.parse(text))) == method.parse(text)


@pytest.mark.parametrize(
    ("text", "warm", "cold"),
    [
        ("plain", True, True),
        ("draft", True, True),
        ("sampled+rejection", True, True),
        ("sampled+rejection+cheapest", False, True),
        ("rsd-c+recursive+sequoia", False, True),
        ("sampled+rejection+thompson", True, True),
        ("sampled+rejection+thompson(keep=true)", False, True),
        ("lookup+relaxed+cheapest", False, False),
        ("lookup+relaxed+confidence", True, True),
        ("draft-tree+typical+specdec(estimator=calibrated)", False, False),
    ],
)
def test_an_answer_tells_whether_it_would_come_again(text: str, warm: bool, cold: bool) -> None:
    assert method.parse(text).repeats(WARM.greedy) is warm
    assert method.parse(text).repeats(GREEDY.greedy) is cold


def test_measured_lengths_do_change_what_an_acceptor_of_its_own_gives() -> None:
    """Else the answer need not tell."""
    named = Speculate(Sampled(DRAFT), Rejection(), Cheapest())
    answers = [engine(at).generate(PROMPTS[0], named, **WARMTH) for at in range(6)]
    assert len({tuple(answer.tokens) for answer in answers}) > 1
    assert not any(answer.repeats for answer in answers)
    assert not answers[0].record()["repeats"]
