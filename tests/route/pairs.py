"""Two table models, a tokenizer of a few words, and routes with settings for them."""

from __future__ import annotations

from stretto.context import Context
from stretto.engine import Engine
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.route.ambedkar import Ambedkar
from stretto.route.entropy import Entropy
from stretto.route.prefix import Prefix
from stretto.route.reverse import Reverse
from stretto.route.weak_to_strong import WeakToStrong

WORDS = ["<s>", "he", "she", " ", "sings", "."]
V = len(WORDS)
LARGE = TableModel.random(V, 3, order=60)  # all of the text matters
SMALL = TableModel.random(V, 8, order=60)
PROMPTS = ["<s>he sings", "she", "<s>she sings.he sings she"]


class Words:
    """Encodes the longest word first; the first word is special."""

    chat_template = None
    all_special_ids = (0,)

    def encode(self, text, add_special_tokens=True):
        ids = []
        while text:
            word = max((word for word in WORDS if text.startswith(word)), key=len, default="")
            ids += [WORDS.index(word)] if word else []  # what is no word is left out
            text = text[max(1, len(word)) :]
        return ids

    def decode(self, ids, skip_special_tokens=True):
        return "".join(WORDS[i] for i in ids if i)

    def get_vocab(self):
        return {word: at for at, word in enumerate(WORDS)}


ROUTES = {
    "entropy": Entropy(SMALL, tau=1.2, window=3),
    "entropy, in turns": Entropy(SMALL, tau=1.3, down=0.9, window=2, dwell=3),
    "prefix": Prefix(SMALL, 4),
    "reverse": Reverse(SMALL, tau=0.15, block=3),
    "reverse, argmax": Reverse(SMALL, tau=0.1, block=2, substitute="argmax"),
    "weak-to-strong": WeakToStrong(SMALL, sure=0.3, window=2, most=9, block=4),
    "ambedkar": Ambedkar(("he:she",), SMALL, candidates=3, fluency=0.1),
}


def engine(model=LARGE):
    return Engine(model, Words(), clock=SimulatedClock())


def context():
    words = Words()
    return Context(LARGE, SimulatedClock(), lambda name: SMALL, encode=words.encode, decode=words.decode)


def chance(name):
    """Temperatures at which a route is tried."""
    return (0.0,) if name == "ambedkar" else (0.0, 1.0)
