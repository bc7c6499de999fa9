"""Two models that take turns: what a rule of switching is worth, and what its signal knows."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import ClassVar

from ... import gym
from ...context import Context
from ...generation import Generation
from ...models.contract import Model
from ...models.store import Store
from ...route.contract import Route, Routing
from ...route.entropy import SMALL, Entropy, EntropyPen, account
from ...route.loop import Routed
from ...route.switch import Pen, Switching, entropies
from ...route.weak_to_strong import WEAK, WeakToStrong
from ..tasks import Exercise
from .contract import Figures
from .lab import Lab

KINDS = ("arithmetic", "letter", "reformat", "sql", "extract_json", "table_sentences")  # short answers
QUESTIONS = 8  # of each kind
TAU = 0.15  # nats
FLIPS = 4  # decodes of each question with switches at random


@dataclass(frozen=True, slots=True)
class Coin(Route):
    """Every token is the large model's with the same probability: what a rule of switching must beat."""

    small: Model
    share: float  # of the large model
    chance: random.Random

    name: ClassVar[str] = "coin"

    def begin(self, context: Context, cache: Store) -> Routing:
        return Switching(context, cache, self.small, SMALL, lambda: CoinPen(self))


@dataclass(frozen=True, slots=True)
class CoinPen(Pen):
    """Remembers nothing."""

    coin: Coin

    def second(self, written: int) -> bool:
        return self.coin.chance.random() >= self.coin.share

    def fork(self) -> CoinPen:
        return self


def switching(lab: Lab) -> Figures:
    """Accuracy of both models alone, of their mixture, and of others with the same share of the large one."""
    questions = [each for kind in KINDS for each in gym.questions(kind, "test", lab.count or QUESTIONS, lab.seed)]
    prompts = [lab.subject.encode(Exercise(question.prompt)) for question in questions]
    engine, small = lab.subject.engine, lab.draft_model()
    lab.subject.replayed.follow(None)

    def mixture(route: Route) -> tuple[float, list[Generation]]:
        found = engine.generate(prompts, Routed(route), max_new_tokens=96)
        pairs = zip(questions, found, strict=True)
        return fmean(gym.task(each.kind).check(each, answer.text) for each, answer in pairs), found

    rule = Entropy(small, tau=TAU)
    large, written = mixture(replace(rule, tau=-1.0))
    little, _ = mixture(replace(rule, tau=math.inf))
    mixed, found = mixture(rule)
    share = account(step for answer in found for step in answer.steps).fraction
    chance = random.Random(lab.seed)
    first, later = on_duty(lab, rule, written)
    return {
        "mixed": mixed,
        "switched at random": fmean(mixture(Coin(small, share, chance))[0] for _ in range(FLIPS)),
        "whole answers at random": little + share * (large - little),
        "large": large,
        "small": little,
        "share of the large one": share,
        "at the small one's first mistakes": first,
        "at its later ones": later,
    }


def begun(lab: Lab) -> Figures:
    """Accuracy of answers that the small model begins and the large one ends; of both alone; who wrote how much."""
    questions = [each for kind in KINDS for each in gym.questions(kind, "test", lab.count or QUESTIONS, lab.seed)]
    prompts = [lab.subject.encode(Exercise(question.prompt)) for question in questions]
    rule = WeakToStrong(lab.draft_model())
    lab.subject.replayed.follow(None)
    figures, writers = Figures(), list[str]()
    for name, route in (("begun", rule), ("large", replace(rule, most=0)), ("small", replace(rule, sure=1.1))):
        found = lab.subject.engine.generate(prompts, Routed(route), max_new_tokens=96)
        pairs = zip(questions, found, strict=True)
        figures[f"right, {name}"] = fmean(gym.task(each.kind).check(each, answer.text) for each, answer in pairs)
        if route is rule:
            writers += [source for answer in found for step in answer.steps for source in step.sources]
    figures["share of the small one"] = writers.count(WEAK) / len(writers)
    return figures


def on_duty(lab: Lab, rule: Entropy, answers: Sequence[Generation]) -> tuple[float, float]:
    """The large model's share, by the rule along its own answers, of the tokens that the small one would get wrong.

    Of the first such token of each answer, and of all later ones.
    """
    shares: dict[bool, list[bool]] = {True: [], False: []}  # by whether it is the first
    for found in answers:
        whole = [*found.prompt_tokens, *found.tokens][:-1]
        models = (lab.subject.replayed, lab.draft_model())
        own, small = (lab.logits(model, [whole], len(found.tokens))[0] for model in models)
        pen, first = EntropyPen(rule), True
        for token, choice, *seen in zip(
            found.tokens, small.argmax(-1).tolist(), entropies(own), entropies(small), strict=True
        ):
            second = pen.second(0)
            pen.learn(seen[second])
            if token != choice:
                shares[first].append(not second)
                first = False
    return fmean(shares[True] or [0.0]), fmean(shares[False] or [0.0])
