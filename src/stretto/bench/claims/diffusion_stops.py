"""Claims about when to end: answers known early, end tokens that come too early, and a filter that knows both."""

from __future__ import annotations

from ...train.filter import Settings, train_filter
from .canvas import CLOSE, ONE, QUICK, RIGHT, Filling, Work, prompt_of, told
from .contract import Claim, Figures, at_least, at_most
from .lab import Lab, Worked

CANVAS = Work().canvas
TAUGHT = 24  # training questions of each kind, whose answers teach the filter
EPOCHS = 4000  # published: 40,000
FULL = Work(("letter",), canvas=48)  # whose answers fill the canvas: elsewhere half of the steps fill end tokens
LONG, FEW = 128, 2  # positions of canvases that are too long, and questions of each kind on them


def known_early(lab: Lab) -> Figures:
    """The published thresholds, and everything filled at half of the steps, whatever the gap."""
    work = FULL
    half = f"prophet(first=inf,second=-inf,steps={3 * FULL.canvas // 2})"  # the second limit holds from a third on
    found = {
        "one by one": work.by(lab, "low-confidence+end-of-text"),
        "prophet": work.by(lab, "low-confidence+prophet"),
        "at half": work.by(lab, f"low-confidence+{half}"),
    }
    return told(found, ("right", "rounds", "tokens as the first"))


def taught(lab: Lab) -> Figures:
    """A filter from answers to training questions; beside the threshold, the baseline, and on canvases too long."""
    work, engine = Work(), lab.filler("masked")
    lessons = Work(count=TAUGHT, split="train").questions(lab)
    prompts = [prompt_of(engine, each) for each in lessons]
    judge, report = train_filter(
        engine, prompts, "threshold+blocks(32)", new_tokens=CANVAS, settings=Settings(epochs=EPOCHS)
    )
    judge.save(lab.folder / "filter.npz")
    learned = f"learned({lab.folder / 'filter.npz'})+blocks(32)"
    found = {
        "one by one": work.by(lab, ONE),
        "threshold": work.by(lab, QUICK),
        "filter": work.by(lab, f"{learned}+end-of-text"),
    }
    long = Work(canvas=LONG, count=FEW, fitting=CANVAS)
    ends = {"to its end": long.by(lab, learned), "cut": long.by(lab, f"{learned}+cut-at-end")}
    figures = told(found, ("right", "rounds")) | told(ends, ("token-forwards",))
    return figures | {
        "rounds in training, oracle": report.oracle_rounds / len(prompts),
        "rounds in training, threshold": report.baseline_rounds / len(prompts),
    }


CLAIMS = (
    Claim(
        "prophet",
        "prophet",
        "97 to 99 % of answers are known at half of the steps; stopping where the gap says so takes up to 3.4 × fewer",
        f"{RIGHT}; rounds an answer; share of tokens that are the baseline's",
        Worked(known_early, f"`low-confidence` with `prophet`, and with everything filled at half on {FULL}; T=0"),
        (
            at_least("tokens as the first, at half", 0.97),
            at_most("rounds, prophet", FULL.canvas / 1.5),
            at_least("right, prophet", CLOSE, "right, one by one"),
        ),
        number=2,
        where_not="nearly all tokens stand at half of the steps, but a whole answer of 44 needs all of them; the "
        "published answers are five tokens behind a template",
    ),
    Claim(
        "eoser",
        "eoser",
        "a whole canvas in log₂ n steps, as right as blocks in as many, once end tokens are held back at first",
        f"{RIGHT}; rounds an answer; share of empty answers",
        Filling(
            {
                "held back": "ascending+early-rejection(0.01,doubling=true)",
                "as they come": "ascending",
                "blocks": "low-confidence(steps=6)+blocks(32)",
            },
            ("right", "rounds", "empty"),
            Work(canvas=64, fitting=CANVAS),
        ),
        (
            at_most("rounds, held back", 6),
            at_most("empty, held back", 1.0, "empty, as they come"),
            at_least("right, held back", 1.0, "right, as they come"),
            at_least("right, held back", 1.0, "right, blocks"),
        ),
        number=130,
    ),
    Claim(
        "learn2pd",
        "learn2pd",
        "a small filter knows what is final, nearly as an oracle: 22 times as fast; cutting off what follows helps",
        f"{RIGHT}; rounds an answer; token-forwards an answer on canvases of {LONG}",
        Worked(
            taught,
            f"`learned+blocks(32)`, its filter from {TAUGHT} training questions of each kind, on {Work()}; "
            f"`fill`, `cut-at-end` on {FEW} of each; T=0",
        ),
        (
            at_most("rounds, filter", 1 / 2, "rounds, one by one"),
            at_most("rounds, filter", 1.0, "rounds, threshold"),
            at_least("right, filter", CLOSE, "right, one by one"),
            at_most("token-forwards, cut", 1 / 2, "token-forwards, to its end"),
        ),
        number=7,
        where_not="an oracle needs two or three rounds an answer, so that 96 questions give few steps to learn from, "
        "and the filter misses a third of what is final",
    ),
)
