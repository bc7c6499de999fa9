"""Answer questions about a short passage in whole sentences."""

from __future__ import annotations

import random

from stretto.gym.contract import Question
from stretto.gym.words import ANIMALS, CITIES, COLORS, DAYS, JOBS, NAMES, PLACES, THINGS

# fact told in the passage, question, answer; {who} is the person, {x} what is told
FACTS = (
    ("{who} lives in {x}.", "Where does {who} live?", "{who} lives in {x}.", CITIES),
    ("The job of {who} is {x}.", "What is the job of {who}?", "The job of {who} is {x}.", JOBS),
    (
        "The favorite color of {who} is {x}.",
        "What is the favorite color of {who}?",
        "The favorite color of {who} is {x}.",
        COLORS,
    ),
    ("{who} has a pet {x}.", "Which pet does {who} have?", "{who} has a pet {x}.", ANIMALS),
    ("{who} lost the {x}.", "What did {who} lose?", "{who} lost the {x}.", THINGS),
    (
        "{who} goes to the {x} every week.",
        "Where does {who} go every week?",
        "{who} goes to the {x} every week.",
        PLACES,
    ),
    ("{who} was born on a {x}.", "On which day was {who} born?", "{who} was born on a {x}.", DAYS),
)


class PassageQA:
    """A passage of facts about several people and two to four questions; every answer sentence must be right."""

    name = "passage_qa"
    share = 1.4

    def make(self, rng: random.Random) -> Question:
        """Four to nine facts about two or three people."""
        people = rng.sample(NAMES, rng.randint(2, 3))
        pool = [(who, fact) for who in people for fact in FACTS]
        told = [(who, fact, rng.choice(fact[3])) for who, fact in rng.sample(pool, rng.randint(4, 9))]
        asked = rng.sample(told, rng.randint(2, 4))
        passage = " ".join(fact[0].format(who=who, x=x) for who, fact, x in told)
        prompt = f"{passage}\n" + " ".join(fact[1].format(who=who) for who, fact, _ in asked)
        answers = [fact[2].format(who=who, x=x) for who, fact, x in asked]
        return Question(self.name, prompt, " ".join(answers), {"answers": answers})

    def check(self, question: Question, reply: str) -> bool:
        """The answer sentences in the order asked."""
        return reply.strip() == " ".join(question.facts["answers"])


TASK = PassageQA()
