"""The gym's common words: few enough that a small tokenizer gives most of them a token of their own."""

from __future__ import annotations

import random


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _words(
    "Anna Tom Maria Ben Clara David Emma Frank Grace Henry Iris Jack Kate Leo Mia Noah Olga Paul Rosa Sam Tina "
    "Victor Wendy Adam Bella Carl Diana Eric Fiona George Hanna Ivan Julia Kevin Laura Max Nina Oscar Peter Ruth "
    "Simon Tara Alice Bruno Celia Dan Ella Felix Greta Hugo Ines Jonas Karin Lucas Marta Nora Otto Petra Rick Sara"
)
SURNAMES = _words(
    "Baker Carter Cook Fisher Gray Hill King Lee Mason Moore Parker Porter Reed Rose Shaw Smith Stone Taylor "
    "Walker Ward Webb West White Wood Young Brown Clark Cole Dean Ford"
)
ANIMALS = _words(
    "cat dog horse fox bear wolf mouse rabbit duck goose owl frog goat sheep cow pig lion tiger deer hen "
    "turtle snake crow swan bee whale seal donkey monkey parrot"
)
FRUITS = _words("apple pear plum peach cherry lemon orange banana grape melon fig berry mango lime date")
THINGS = _words(
    "lamp chair table book key box cup plate spoon bottle basket clock mirror candle rope hammer bell drum "
    "kite ball coin ring hat coat shoe glove scarf bag pen pencil map letter stone shell feather button ticket "
    "blanket pillow ladder bucket brush needle whistle flute lantern barrel wheel anchor sail knife fork card"
)
PLACES = _words(
    "garden forest river market kitchen school library station harbor bridge tower castle village mountain "
    "beach island field park museum church farm mill cave lake valley shop office hotel theater square"
)
CITIES = _words(
    "Paris London Rome Berlin Madrid Vienna Prague Oslo Lisbon Dublin Athens Cairo Tokyo Delhi Lima Boston "
    "Chicago Denver Dallas Miami Seattle Toronto Sydney Geneva Milan Munich Warsaw Helsinki"
)
COLORS = _words("red blue green yellow black white brown purple pink gray golden silver")
ADJECTIVES = _words(
    "old new small big long short warm cold quiet loud soft hard bright dark clean heavy light strange happy sad "
    "brave kind clever lazy quick slow young tired proud gentle angry hungry wise round broken empty lost tall"
)
JOBS = _words(
    "teacher doctor farmer baker painter sailor pilot singer lawyer nurse writer driver gardener tailor "
    "engineer judge cook dancer barber guard"
)
VERBS = _words(
    "found carried lost bought sold painted opened closed cleaned moved dropped kept saw wanted liked "
    "followed visited remembered forgot watched borrowed repaired hid took brought"
)
DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
TIMES = (
    "yesterday",
    "last week",
    "in the morning",
    "in the evening",
    "at noon",
    "on Monday",
    "after lunch",
    "before dinner",
    "every day",
    "in the summer",
    "in the winter",
    "at night",
)
COMMON = ANIMALS + FRUITS + THINGS + PLACES


def sentence(rng: random.Random) -> str:
    """One plain sentence, 6 to 14 words."""
    who = rng.choice((rng.choice(NAMES), f"the {rng.choice(ADJECTIVES)} {rng.choice(JOBS + ANIMALS)}"))
    text = f"{who} {rng.choice(VERBS)} the {rng.choice(ADJECTIVES)} {rng.choice(THINGS)}"
    tail = rng.randrange(4)
    if tail == 0:
        text += f" near the {rng.choice(PLACES)}"
    elif tail == 1:
        text += f" {rng.choice(TIMES)}"
    elif tail == 2:
        text += f" and the {rng.choice(COLORS)} {rng.choice(THINGS)}"
    return text[0].upper() + text[1:] + "."


def passage(rng: random.Random, low: int, high: int) -> str:
    """`low` to `high` plain sentences joined by spaces."""
    return " ".join(sentence(rng) for _ in range(rng.randint(low, high)))


def a(noun: str) -> str:
    """The noun with its indefinite article."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def plural(noun: str) -> str:
    """The plural of one of the regular nouns above."""
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    if noun.endswith("fe"):
        return noun[:-2] + "ves"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh", "o")) else "s")
