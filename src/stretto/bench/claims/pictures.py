"""Claims of steers that look at pictures: on PriorGrid, in which objects go together less often than was learnt."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ...engine import Engine
from ...gym import prior_grid as grid
from ...models.pictures import Picture, Pictured
from ...steer.clinical import Clinical
from ...steer.scaling_vis import AdaptVis
from .contract import Claim, Figures, Relation, at_least, at_most
from .lab import Lab, Worked

if TYPE_CHECKING:
    from ...handle import Handle

MODEL = "zoo/grid"
SCENES, NOISE = 100, 0.6  # pictures; standard deviation of a pixel
CAPTION, ANSWER = 20, 1  # tokens at most
Asked = Sequence[tuple[Picture, str]]


Steers = Callable[[int], Sequence[Any]]  # of the picture of that number


def answers(
    engine: Engine, asked: Asked, steers: Sequence[Any] | Steers, size: int, temperature: float = 0.0
) -> list[str]:
    """To questions after pictures; what is drawn has a seed for each."""
    settings: dict[str, Any] = {"max_new_tokens": size, "temperature": temperature}
    handles: list[Handle] = []
    for seed, (picture, text) in enumerate(asked):
        own = list(steers(seed) if callable(steers) else steers)
        prompt = Pictured(f"<s> <image> {text}", [picture])
        handles.append(engine.submit(prompt, "plain", seed=seed, steers=own, **settings))
    return [handle.result().text for handle in handles]


class Gallery:
    """Pictures of scenes whose objects go together by chance alone, and what is asked about them."""

    def __init__(self, engine: Engine, count: int, seed: int) -> None:
        chance = random.Random(f"gallery {seed}")
        self.engine = engine
        self.scenes = [grid.scene(chance, 0.0) for _ in range(count)]
        self.pictures = [engine.sight.picture(grid.picture(scene, NOISE, at)) for at, scene in enumerate(self.scenes)]
        pairs = list(zip(self.scenes, self.pictures, strict=True))
        self.present = [(seen, each) for scene, seen in pairs for each in grid.presence(scene, chance, "adversarial")]
        self.placed = [(seen, grid.place(scene, chance)) for scene, seen in pairs]

    def captions(self, steers: Sequence[Any] | Steers = (), temperature: float = 0.0) -> grid.Mentions:
        """CHAIR's figures."""
        asked = [(picture, "describe :") for picture in self.pictures]
        return grid.inspected(answers(self.engine, asked, steers, CAPTION, temperature), self.scenes)

    def presence(self, *steers: Any, temperature: float = 0.0) -> grid.Presence:
        """POPE's figures."""
        asked = [(picture, each.prompt) for picture, each in self.present]
        found = answers(self.engine, asked, steers, ANSWER, temperature)
        return grid.judged(found, [each for _, each in self.present])

    def places(self, *steers: Any) -> float:
        """Share of right answers to where one object is from another."""
        asked = [(picture, each.prompt) for picture, each in self.placed]
        found = answers(self.engine, asked, steers, ANSWER)
        return sum(said.strip() == each.answer for said, (_, each) in zip(found, self.placed, strict=True)) / len(found)


def gallery(lab: Lab) -> Gallery:
    """For all contests the same."""
    found = lab.filled.setdefault(("gallery",), None) or Gallery(Engine.load(MODEL), lab.count or SCENES, lab.seed)
    lab.filled["gallery",] = found
    assert isinstance(found, Gallery)
    return found


def tried(lab: Lab, sides: Mapping[str, Sequence[str]], temperature: float) -> Figures:
    """Invented objects, recall beside them, and F1 of yes and no, of the model alone and of each side."""
    shown, figures = gallery(lab), Figures()
    for name, steers in {"alone": (), **sides}.items():
        said = shown.captions(steers, temperature)
        figures |= {f"invented, {name}": said.invented, f"recall, {name}": said.recall}
        figures[f"F1, {name}"] = shown.presence(*steers, temperature=temperature).f1
    return figures


def placed(lab: Lab) -> Figures:
    """Where objects stand: under fixed factors, and under that which each first answer asks for."""
    shown = gallery(lab)
    figures: Figures = {f"right, {by:g}": shown.places(f"scaling_vis({by})") for by in (0.5, 1.0, 1.5)}
    chosen, right = AdaptVis(), 0
    for picture, each in shown.placed:
        prompt = Pictured(f"<s> <image> {each.prompt}", [picture])
        first = shown.engine.generate(prompt, "plain", max_new_tokens=1, log_probabilities=0)
        (said,) = answers(shown.engine, [(picture, each.prompt)], [chosen(first)], ANSWER)
        right += said.strip() == each.answer
    return figures | {"right, adapted": right / len(shown.placed)}


def labelled(scene: grid.Scene, chance: random.Random, right: float) -> dict[str, float]:
    """What a classifier that is right that often says of each colour and form: .9 or .1."""
    seen = {word for thing in scene.objects for word in grid.OBJECTS[thing]}
    words = (*grid.COLOURS, *grid.SHAPES)
    return {word: 0.9 if (word in seen) == (chance.random() < right) else 0.1 for word in words}


def guided(lab: Lab) -> Figures:
    """Captions by what a classifier sees: a good one and one that guesses, with its guidance and without."""
    shown, figures = gallery(lab), Figures()
    encode = shown.engine.codec.encode_piece
    sides = {"alone": None, "guided": (0.9, 0.5), "by chance": (0.5, 0.5)}
    for name, side in {**sides, "words": (0.9, 0.0), "words by chance": (0.5, 0.0)}.items():
        steers: list[list[Clinical]] = [[] for _ in shown.scenes]
        if side is not None:
            right, alpha = side
            chance = random.Random(f"labels {lab.seed}")
            found = [labelled(scene, chance, right) for scene in shown.scenes]
            steers = [[Clinical.of(each, encode, " ".join, alpha)] for each in found]
        said = shown.captions(steers.__getitem__)
        figures |= {f"invented, {name}": said.invented, f"recall, {name}": said.recall}
    return figures


def pushed(sides: Mapping[str, Sequence[str]], temperature: float = 1.0) -> Worked:
    """The contest of these sides."""
    named = ", ".join(f"`{steer}`" for steers in sides.values() for steer in steers)
    text = (
        f"{named} and `{MODEL}` alone: captions of {SCENES} pictures with noise {NOISE:g}, and questions whether the"
        f" partner of what is there is there too; T={temperature:g}"
    )
    return Worked(lambda lab: tried(lab, sides, temperature), text)


def better(*names: str) -> tuple[Relation, ...]:
    """Fewer invented objects and a higher F1 than the model alone."""
    return tuple(
        relation
        for name in names
        for relation in (
            at_most(f"invented, {name}", 1.0, "invented, alone"),
            at_least(f"F1, {name}", 1.0, "F1, alone"),
        )
    )


def falling(*names: str) -> tuple[Relation, ...]:
    """Of each a higher F1 than of the next."""
    return tuple(at_least(f"F1, {one}", 1.0, f"F1, {other}") for one, other in pairwise(names))


HALLUCINATED = "invented of all objects that captions name; recall; F1 of yes and no"
SMALL = "the differences are at most two of a hundred questions, either way; nothing was tried to tell why"
CLAIMS = (
    Claim(
        "vcd",
        "vcd",
        "what a noised picture would make likely, taken away, leaves fewer objects that are not there",
        HALLUCINATED,
        pushed({"vcd": ["vcd"]}),
        better("vcd"),
        where_not=SMALL,
    ),
    Claim(
        "damro",
        "damro",
        "against a reading of the few patches that the encoder looks at most, presence is told better than by sampling",
        HALLUCINATED,
        pushed({"damro": ["damro"]}),
        (at_least("F1, damro", 1.0, "F1, alone"),),
        number=126,
        where_not=SMALL,
    ),
    Claim(
        "ritual",
        "ritual",
        "a transformed picture beside the given one invents less than the model alone, and than a contrast",
        HALLUCINATED,
        pushed({"ritual": ["ritual"], "blurred": ["ritual(by=blur)"], "vcd": ["vcd"]}),
        (*better("ritual"), at_most("invented, ritual", 1.0, "invented, vcd")),
        number=169,
        where_not="most of its six changes move what is seen; a blur alone invents less, and tells presence worse",
    ),
    Claim(
        "rbd",
        "rbd",
        "both branches together are better than that of the text, that than that of the picture, and that than none",
        HALLUCINATED,
        pushed({"both": ["rbd"], "text": ["rbd(gamma=0.0)"], "picture": ["rbd(alpha=0.0)"]}),
        falling("both", "text", "picture", "alone"),
        number=139,
        where_not=SMALL,
    ),
    Claim(
        "causal-mm",
        "causal-mm",
        "attention changed in encoder and model together beats that of either, and either the model alone",
        HALLUCINATED,
        pushed(
            {
                "both": ["causal_mm"],
                "encoder": ["causal_mm(language=False)"],
                "language": ["causal_mm(vision=False)"],
            }
        ),
        falling("both", "encoder", "language", "alone"),
        number=152,
        where_not=SMALL,
    ),
    Claim(
        "cg-vlm",
        "cg-vlm",
        "heads that agree on the picture where picture and text matter together invent less; where always, no less",
        HALLUCINATED,
        pushed({"cg-vlm": ["cg_vlm"], "always": ["cg_vlm(threshold=-1000.0)"]}),
        (*better("cg-vlm"), at_least("F1, cg-vlm", 1.0, "F1, always")),
        number=91,
        where_not=SMALL,
    ),
    Claim(
        "dcla",
        "dcla",
        "late layers held to those before them tell presence no worse, whatever the strength",
        HALLUCINATED,
        pushed({f"{by:g}": [f"dcla({by})"] for by in (0.05, 0.1, 0.2)}),
        tuple(at_least(f"F1, {by:g}", 1.0, "F1, alone") for by in (0.05, 0.1, 0.2)),
        number=79,
        where_not=SMALL,
    ),
    Claim(
        "adapt-vis",
        "adapt-vis",
        "attention to a picture scaled by how sure the first answer is places objects as well as any fixed factor",
        "share of right answers to where one object is from another",
        Worked(
            placed, f"`scaling_vis` by 0.5, 1, 1.5 and by `AdaptVis` on {SCENES} pictures with noise {NOISE:g}; T=0"
        ),
        (
            at_least("right, adapted", 1.0, "right, 0.5"),
            at_least("right, adapted", 1.0, "right, 1.5"),
            at_least("right, adapted", 1.0, "right, 1"),
        ),
        number=121,
    ),
    Claim(
        "clinical-contrast",
        "clinical-contrast",
        "what a classifier sees leaves fewer objects that are not there, and no fewer that are; guesses help nothing",
        "invented of all objects that captions name; recall",
        Worked(
            guided,
            f"`clinical` with labels of colours and forms that are right 9 times of 10, or by chance, guidance before"
            f" the prompt or (words) none: captions of {SCENES} pictures with noise {NOISE:g}; T=0",
        ),
        (
            at_most("invented, guided", 1.0, "invented, alone"),
            at_least("recall, guided", 0.95, "recall, alone"),
            at_least("invented, by chance", 1.0, "invented, alone"),
        ),
        number=110,
        where_not="the guidance is text such as this small model never saw, and shortens its captions, whatever it"
        " says; words alone do all three",
    ),
)
