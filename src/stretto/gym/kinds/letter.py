"""Write a short letter from notes."""

from __future__ import annotations

import random

from stretto.gym.contract import Question
from stretto.gym.words import ADJECTIVES, DAYS, NAMES, PLACES, THINGS


class Letter:
    """Notes such as `to: Anna` become a letter of a fixed form; right when every line is."""

    name = "letter"
    share = 0.8

    def make(self, rng: random.Random) -> Question:
        """Recipient, sender, subject, meeting place, day and hour, in shuffled order."""
        to, sender = rng.sample(NAMES, 2)
        notes = {
            "to": to,
            "from": sender,
            "about": f"the {rng.choice(ADJECTIVES)} {rng.choice(THINGS)}",
            "day": rng.choice(DAYS),
            "place": rng.choice(PLACES),
            "hour": str(rng.randint(1, 12)),
        }
        shuffled = rng.sample(list(notes), len(notes))
        prompt = "Write a letter.\n" + "\n".join(f"{key}: {notes[key]}" for key in shuffled)
        answer = (
            f"Dear {to},\nI am writing to you about {notes['about']}. Can we meet on {notes['day']} at "
            f"{notes['hour']} o'clock at the {notes['place']}? Please bring {notes['about']} with you.\n"
            f"Best wishes,\n{sender}"
        )
        return Question(self.name, prompt, answer, {"letter": answer})

    def check(self, question: Question, reply: str) -> bool:
        """The whole letter."""
        return bool(reply.strip() == question.facts["letter"])


TASK = Letter()
