"""A short story about a given hero, place and thing, from a grammar of scenes."""

from __future__ import annotations

import random

from stretto.gym.contract import Question
from stretto.gym.words import ADJECTIVES, ANIMALS, COLORS, NAMES, PLACES, THINGS, a

MORNINGS = (
    "One morning {hero} the {animal} went to the {place}.",
    "{hero} was {a_adjective} {animal} who lived near the {place}.",
    "Once upon a time there was {a_adjective} {animal} named {hero} in the {place}.",
    "Every day {hero} the {animal} walked to the {place}.",
)
FINDS = (
    "There {hero} found a {color} {thing} under a tree.",
    "In the {place} lay a {color} {thing}.",
    "One day {hero} saw a {color} {thing} in the grass.",
    "On the way {hero} tripped over a {color} {thing}.",
)
TROUBLES = (
    "But the {thing} was too heavy to carry.",
    "But the {thing} was broken, and {hero} did not know what to do.",
    "Then a strong wind came and took the {thing} away.",
    "Suddenly it began to rain, and the {thing} got wet.",
    "But the {thing} belonged to someone else.",
)
HELPS = (
    '{friend} came by and said, "Let me help you."',
    "{hero} called {friend}, and together they had an idea.",
    "{hero} asked {friend} for help, and {friend} smiled.",
    '"We can do it together," said {friend}.',
)
ENDS = (
    "In the end {hero} and {friend} took the {thing} home and were happy.",
    "At last the {thing} was safe, and {hero} thanked {friend}.",
    "From then on {hero} and {friend} shared the {thing}, and they stayed friends for ever.",
    "That night {hero} slept well, with the {thing} beside the bed.",
)


class Story:
    """A story of five scenes; right when it names what was asked for and ends with an ending."""

    name = "story"
    share = 1.6

    def make(self, rng: random.Random) -> Question:
        """Hero, animal, place and thing are asked for; the rest is free."""
        hero, friend = rng.sample(NAMES, 2)
        cast = {
            "hero": hero,
            "friend": friend,
            "animal": rng.choice(ANIMALS),
            "place": rng.choice(PLACES),
            "thing": rng.choice(THINGS),
            "color": rng.choice(COLORS),
            "adjective": rng.choice(ADJECTIVES),
        }
        cast["a_adjective"] = a(cast["adjective"])
        scenes = [rng.choice(scene).format(**cast) for scene in (MORNINGS, FINDS, TROUBLES, HELPS, ENDS)]
        prompt = f"Write a short story about {hero} the {cast['animal']}, {a(cast['thing'])} and the {cast['place']}."
        names = [hero, cast["animal"], cast["thing"], cast["place"]]
        return Question(self.name, prompt, " ".join(scenes), {"names": names, "hero": hero, "thing": cast["thing"]})

    def check(self, question: Question, reply: str) -> bool:
        """All that was asked for occurs, in 30 to 150 words, and the last sentence is one of the endings."""
        words = reply.split()
        named = all(name in reply for name in question.facts["names"])
        return named and 30 <= len(words) <= 150 and _ends(question, reply.strip())


def _ends(question: Question, reply: str) -> bool:
    facts = question.facts
    for end in ENDS:
        before, *rest = end.format(hero=facts["hero"], thing=facts["thing"], friend="\n").split("\n")
        start = reply.rfind(before)
        if start >= 0 and all(part in reply[start:] for part in rest) and reply.endswith(rest[-1] if rest else before):
            return True
    return False


TASK = Story()
