"""Turn a small CSV table into sentences."""

from __future__ import annotations

import random

from stretto.gym.contract import Question
from stretto.gym.words import CITIES, COLORS, DAYS, JOBS, NAMES, PLACES, THINGS

TABLES = (
    ("name,age,city", "{0} is {1} years old and lives in {2}.", ("names", "number", "cities")),
    ("item,color,price", "The {1} {0} costs {2} dollars.", ("things", "colors", "number")),
    ("name,job,place", "The job of {0} at the {2} is {1}.", ("names", "jobs", "places")),
    ("day,place,guests", "On {0} there were {2} guests at the {1}.", ("days", "places", "number")),
    ("city,day,degrees", "In {0} it was {2} degrees on {1}.", ("cities", "days", "number")),
    ("name,item,count", "{0} has {2} of the {1}.", ("names", "things", "number")),
)
WORDS = {
    "names": NAMES,
    "cities": CITIES,
    "things": THINGS,
    "colors": COLORS,
    "jobs": JOBS,
    "places": PLACES,
    "days": DAYS,
}


class TableSentences:
    """One sentence a row, in the pattern shown by an example; right when every sentence is."""

    name = "table_sentences"
    share = 1.3

    def make(self, rng: random.Random) -> Question:
        """Two to five rows of three columns."""
        head, pattern, columns = rng.choice(TABLES)
        rows = [[_cell(rng, column) for column in columns] for _ in range(rng.randint(2, 5))]
        lines = "\n".join(",".join(row) for row in rows)
        sentences = [pattern.format(*row) for row in rows]
        return Question(
            self.name, f"Write each row as a sentence.\n{head}\n{lines}", "\n".join(sentences), {"sentences": sentences}
        )

    def check(self, question: Question, reply: str) -> bool:
        """Sentence by sentence."""
        return reply.strip().split("\n") == list(question.facts["sentences"])


def _cell(rng: random.Random, column: str) -> str:
    return str(rng.randint(2, 99)) if column == "number" else rng.choice(WORDS[column])


TASK = TableSentences()
