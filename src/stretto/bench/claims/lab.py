"""Where claims are tried: the models, the work, and contests of methods by their text form."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ... import gym
from ...engine import Engine
from ...errors import ModelError, UnknownName
from ...generation import Counters
from ...models.cache import Cache
from ...models.clock import Clock, SimulatedClock
from ...models.contract import Evaluation, Model, Want
from ...models.window import Window
from ...speculate.datastore import Document, build
from ...train.specialists import train_specialists
from .. import tasks
from ..contestants import Answer, Case, Contestant, Draw, Ours, twin, with_models
from ..harness import Prepared, grouped, measure, prepare
from ..repetition import LIMIT, repeated_share
from ..replay import Replayed
from ..results import PLAIN, Spread, summarise
from ..subject import Subject
from ..tasks import BenchTask, Exercise
from .contract import Absent, Figures

TRAINED_ON = 300  # texts of a gym kind in a store or a corpus
SPARE = 1  # exercises to warm up with
FREE_WINDOWS = SimulatedClock(1.0, 0.0)  # what planners reckon with where tokens are counted, not seconds
OPEN = ("free:stories", "free:gsm8k")  # for tokens that are drawn: texts that the target continues as it likes
FREE = "free:"  # a replay source's prompts, which the target continues by itself


class Counted(Replayed):
    """A model that writes down how large its windows are; the prompt's, whose logits nobody wants, do not count."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.windows: list[int] = []  # slots of all rows

    def evaluate(self, window: Window, cache: Cache, want: Want = Want()) -> Evaluation:
        """The model's own."""
        if want.logits is not False:
            self.windows.append(sum(window.lengths))
        return super().evaluate(window, cache, want)


@dataclass(frozen=True, slots=True)
class FreeTask:
    """Prompts of a replay source, without the reference."""

    task: BenchTask
    name: str

    @property
    def absent(self) -> str:
        """As the source says."""
        return self.task.absent

    def exercises(self, seed: int) -> Iterator[Exercise]:
        """The source's, to be answered freely."""
        for exercise in self.task.exercises(seed):
            yield Exercise(exercise.prompt, exercise.chat)


@dataclass(slots=True)
class Score:
    """One side of a contest, over all of its work."""

    counters: Counters = field(default_factory=Counters)
    target: list[int] = field(default_factory=list)  # slots of the target's windows
    draft: list[int] = field(default_factory=list)  # slots of the draft model's
    refused: int = 0  # rounds that ended because a drafted token was not accepted
    differing: int = 0  # groups left out because its tokens are not those of plain decoding, though they must be

    def add(self, other: Score) -> None:
        """Sum another part of the work into this."""
        self.counters.add(other.counters)
        self.target += other.target
        self.draft += other.draft
        self.refused += other.refused
        self.differing += other.differing

    @property
    def tokens_per_round(self) -> float:
        """τ."""
        return self.counters.tokens_per_round

    @property
    def accepted_share(self) -> float:
        """Of the drafted tokens."""
        return self.counters.accepted / max(1, self.counters.drafted)

    def priced(self, slope: float, draft: float) -> float:
        """Tokens per unit of a clock on which n tokens cost the target 1 + slope (n − 1), the draft `draft` × that."""
        spent = sum(1 + slope * (slots - 1) for slots in self.target)
        spent += draft * sum(1 + slope * (slots - 1) for slots in self.draft)
        return self.counters.new_tokens / spent


class Metered(Ours):
    """A contestant whose models' windows are written down, group by group."""

    def __init__(self, name: str, lab: Lab, text: str, max_new_tokens: int, clock: Clock | None = None) -> None:
        """`clock` is what planners reckon with; None: the machine's own."""
        subject = lab.subject
        method = with_models(lab.fill(text), subject.replayed, lab.draft, subject.load)
        engine = twin(subject.engine)
        engine.clock = clock or engine.clock
        super().__init__(name, engine, subject.replayed, method, max_new_tokens)
        self._lab = lab
        self.windows: dict[int, tuple[list[int], list[int]]] = {}  # of each group, by its first case: the last answer

    def answer(self, cases: Sequence[Case]) -> Answer:
        """Answer the group, and keep the windows."""
        meters = self._lab.meters
        for meter in meters:
            meter.windows = []
        found = super().answer(cases)
        self.windows[id(cases[0])] = (meters[0].windows, meters[1].windows if len(meters) > 1 else [])
        return found


class Lab:
    """One target and its draft, the data, and what was measured already: contests share their sides."""

    def __init__(
        self,
        subject: Subject,
        draft: str = "",
        *,
        data: Path | None = None,
        seed: int = 0,
        count: int | None = None,
        masked: str = "zoo/masked",
        block: str = "zoo/block",
    ) -> None:
        """`draft` is the name under which the subject's draft model was loaded; `count` overrides all contests'.

        `masked` and `block` name the checkpoints that fill masks, on a whole canvas and block by block.
        """
        self.subject = subject
        self.data = data
        self.seed = seed
        self.count = count
        meter = Counted(subject.replayed.model)
        subject.replayed.model = meter
        self.meters = [meter]
        self.draft: tuple[str, Model] | None = None
        if subject.draft is not None:
            self.meters.append(Counted(subject.draft))
            self.draft = (draft, self.meters[1])
        self.differing = 0  # answers left out in the contests since someone last looked
        self._folder = tempfile.TemporaryDirectory(prefix="stretto-claims-")
        self._prepared: dict[tuple[object, ...], Prepared] = {}
        self._scores: dict[tuple[object, ...], Score] = {}
        self.filled: dict[tuple[object, ...], object] = {}  # what methods that fill masks have answered already
        self._places = {"masked": masked, "block": block}
        self._fillers: dict[str, Engine] = {}
        self._made: dict[str, Path] = {}
        self._trained: dict[str, dict[str, Engine]] = {}

    def close(self) -> None:
        """Remove the stores and texts that were made."""
        self._folder.cleanup()

    @property
    def folder(self) -> Path:
        """For what contests make on the way; removed by `close`."""
        return Path(self._folder.name)

    # -- work -----------------------------------------------------------------------------------------

    def task(self, name: str) -> BenchTask:
        """A task of the benchmark, or `free:SOURCE`. Raises Absent where its file is missing."""
        free = name.startswith(FREE)
        (task,) = tasks.select([name.replace(FREE, "replay:", 1) if free else name], self.data)
        if task.absent:
            raise Absent(task.absent, hint="name the folder of the benchmark files: --data DATA")
        return FreeTask(task, name) if free else task

    def prepared(self, name: str, temperature: float, count: int, max_new_tokens: int) -> Prepared:
        """The first exercises of a task that count, and one to warm up with."""
        key = (name, temperature, count, max_new_tokens)
        if key not in self._prepared:
            task = self.task(name)
            self._prepared[key] = prepare(
                self.subject, task, count + SPARE, max_new_tokens, self.seed, temperature=temperature
            )
        return self._prepared[key]

    def texts(self, name: str, count: int) -> list[str]:
        """Questions and answers of the gym's training split, `gym:KIND`; or texts of a replay source, the last first.

        What is replayed are a source's first texts, so these are others.
        """
        family, _, kind = name.partition(":")
        if family == "gym":
            found = gym.questions(kind, "train", count, self.seed)
            return [f"{question.prompt}\n{question.answer}" for question in found]
        exercises = list(self.task(name).exercises(self.seed))[::-1][:count]
        return [exercise.prompt + (exercise.reference or "") for exercise in exercises]

    def tokens(self, name: str, count: int) -> list[list[int]]:
        """Texts as token ids."""
        return [self.subject.encode_reference(text) for text in self.texts(name, count)]

    def fill(self, text: str) -> str:
        """A method's text form with `{store NAME …}` and `{corpus NAME …}` made, and replaced by their places."""
        while "{" in text:
            before, _, rest = text.partition("{")
            inside, _, after = rest.partition("}")
            text = f"{before}{self._place(inside)}{after}"
        return text

    def _place(self, what: str) -> Path:
        if what not in self._made:
            kind, *names = what.split()
            place = self.folder / str(len(self._made))
            if kind == "store":
                texts = [(name, tokens) for name in names for tokens in self.tokens(name, TRAINED_ON)]
                documents = [Document(f"{name}/{at}", tokens) for at, (name, tokens) in enumerate(texts)]
                build(documents, place, tokenizer=self.subject.engine.codec.fingerprint())
            else:
                assert kind == "corpus", what
                place.write_text("\n".join(text for name in names for text in self.texts(name, TRAINED_ON)), "utf-8")
            self._made[what] = place
        return self._made[what]

    # -- contests -------------------------------------------------------------------------------------

    def score(self, text: str, work: Sequence[str], *, temperature: float, count: int, max_new_tokens: int) -> Score:
        """One method on several tasks. Raises Absent where none of them has a case."""
        whole = Score()
        for name in work:
            whole.add(self._score(text, name, temperature, self.count or count, max_new_tokens))
        if not whole.counters.new_tokens:
            raise Absent(f"nothing to measure on {', '.join(work)}", hint="more exercises: --count")
        return whole

    def _score(self, text: str, name: str, temperature: float, count: int, max_new_tokens: int) -> Score:
        key = (text, name, temperature, count, max_new_tokens)
        if key not in self._scores:
            prepared = self.prepared(name, temperature, count, max_new_tokens)
            cases = prepared.first(count).cases
            draw = Draw(temperature, self.seed, stream=name)
            self._scores[key] = self._played(text, cases, draw, prepared.spare(count), max_new_tokens)
        return self._scores[key]

    def case_score(self, text: str, case: Case) -> Score:
        """One method on one case, greedily, with nothing to remember."""
        return self._played(text, [case], Draw(0.0, self.seed), [], len(case.expected))

    def _played(
        self, text: str, cases: Sequence[Case], draw: Draw, spare: Sequence[Case], max_new_tokens: int
    ) -> Score:
        """Answers that are what they must be; where they are the method's own, those that do not repeat themselves."""
        found = Score()
        groups = grouped(cases, 1)
        contestant = Metered(text, self, text, max_new_tokens, FREE_WINDOWS)
        for run in measure([contestant], groups, 1, draw, spare=spare) if groups else ():
            (case,) = groups[run.group]
            (tokens,) = run.answer.tokens
            if tokens != case.expected and contestant.bound(case, draw):
                found.differing += 1
            elif tokens == case.expected or repeated_share(tokens) <= LIMIT:
                target, draft = contestant.windows[id(case)]
                refused = sum(each.refused for rounds in run.answer.rounds() for each in rounds)
                found.add(Score(run.answer.counters, target, draft, refused))
        return found

    def race(
        self, sides: Mapping[str, str], work: Sequence[str], count: int, max_new_tokens: int, repeats: int
    ) -> Figures:
        """Speed of each side as a multiple of plain decoding's, side by side: geometric mean of the tasks' medians.

        The quartiles are the means of the tasks' quartiles.
        """
        count = self.count or count
        found: dict[str, list[Spread]] = {name: [] for name in sides}
        for name in work:
            prepared = self.prepared(name, 0.0, count, max_new_tokens)
            groups = grouped(prepared.first(count).cases, 1)
            contestants: list[Contestant] = [
                Metered(side, self, text, max_new_tokens) for side, text in {PLAIN: PLAIN, **sides}.items()
            ]
            draw = Draw(0.0, self.seed, stream=name)
            if groups:
                runs = measure(contestants, groups, repeats, draw, spare=prepared.spare(count))
                for contestant in summarise(prepared, groups, contestants, runs, draw=draw).contestants:
                    if contestant.name in found:
                        found[contestant.name].append(contestant.ratios[PLAIN])
        if not any(found.values()):
            raise Absent(f"nothing to measure on {', '.join(work)}", hint="more exercises: --count")
        mean = statistics.geometric_mean
        return {
            side: Spread(*(mean([getattr(each, part) for each in spreads]) for part in ("median", "low", "high")))
            for side, spreads in found.items()
        }

    # -- models ---------------------------------------------------------------------------------------

    def draft_model(self) -> Model:
        """Raises Absent where there is none."""
        if self.draft is None:
            raise Absent("there is no draft model", hint="--draft zoo/draft")
        return self.draft[1]

    def filler(self, which: str) -> Engine:
        """The model that fills masks, "masked" or "block", loaded when it is first asked for. Raises Absent."""
        if which not in self._fillers:
            model = self.subject.replayed
            place, kind = str(model.device), str(model.dtype).removeprefix("torch.")
            try:
                self._fillers[which] = Engine.load(self._places[which], dtype=kind, device=place)
            except (UnknownName, ModelError) as error:
                raise Absent(str(error), hint=f"train it: stretto train zoo {which}") from error
        return self._fillers[which]

    def trained(self, task: str) -> dict[str, Engine]:
        """The small models of a task of `stretto.train.specialists` by name, trained when they are first asked for."""
        if task not in self._trained:
            folders = train_specialists(task, self.folder, self.seed)
            self._trained[task] = {name: Engine.load(str(folder)) for name, folder in folders.items()}
        return self._trained[task]

    @torch.inference_mode()
    def logits(self, model: Model, texts: Sequence[Sequence[int]], last: int) -> Tensor:
        """The model's logits after each of the last tokens of equally long texts: [B, last, V]."""
        cache = model.new_cache(len(texts), len(texts[0]))
        rows = [cache.open() for _ in texts]
        window = Window.chain(rows, texts, [0] * len(texts), model.device)
        places = torch.arange(len(texts[0]) - last, len(texts[0]), device=model.device).expand(len(texts), last)
        found = model.evaluate(window, cache, Want(logits=places)).logits
        assert found is not None
        return found


Of = Callable[[Score], float]


@dataclass(frozen=True, slots=True)
class Decoding:
    """Methods on tasks; each figure is a measure of one of them."""

    sides: Mapping[str, str]  # name in the figures -> text form; {store …} and {corpus …} are made on the way
    work: tuple[str, ...]  # gym:KIND, replay:SOURCE, free:SOURCE
    of: Of = lambda score: score.tokens_per_round
    temperature: float = 0.0
    count: int = 4  # exercises of each task
    max_new_tokens: int = 96

    @property
    def text(self) -> str:
        """Sides, work, temperature, count."""
        sides = "; ".join(f"{name}: `{text}`" for name, text in self.sides.items())
        return f"{sides} on {', '.join(self.work)}; T={self.temperature:g}, {self.count} of each"

    def __call__(self, lab: Lab) -> Figures:
        """The measure of each side."""
        figures: Figures = {}
        for name, text in self.sides.items():
            score = lab.score(
                text, self.work, temperature=self.temperature, count=self.count, max_new_tokens=self.max_new_tokens
            )
            lab.differing += score.differing
            figures[name] = self.of(score)
        return figures


@dataclass(frozen=True, slots=True)
class Race:
    """Seconds, side by side with plain decoding."""

    sides: Mapping[str, str]
    work: tuple[str, ...]
    count: int = 2
    max_new_tokens: int = 96
    repeats: int = 3

    @property
    def text(self) -> str:
        """Sides, work, repeats."""
        sides = "; ".join(f"{name}: `{text}`" for name, text in self.sides.items())
        return f"{sides} on {', '.join(self.work)}; {self.count} of each, {self.repeats} repeats"

    def __call__(self, lab: Lab) -> Figures:
        """Speed over plain decoding's."""
        return lab.race(self.sides, self.work, self.count, self.max_new_tokens, self.repeats)


@dataclass(frozen=True, slots=True)
class Worked:
    """A contest of its own kind: enumerated, simulated, or decoded in a way that `Decoding` does not cover."""

    run: Callable[[Lab], Figures]
    text: str

    def __call__(self, lab: Lab) -> Figures:
        """What the function finds."""
        return self.run(lab)
