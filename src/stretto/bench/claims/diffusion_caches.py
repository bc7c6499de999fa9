"""Claims about what is computed anew: counts of what is spared, and that answers stay right."""

from __future__ import annotations

from ... import method as methods
from ...diffuse.method import Diffuse
from ...gym import questions
from ...models.masked import Masking
from ...models.table import MaskedTable
from ...train.branches import calibrate
from .canvas import CLOSE, ONE, RIGHT, Filling, Work, prompt_of, told, written_down
from .contract import Claim, Figures, at_least, at_most, equal
from .lab import Lab, Worked

PROMPT, ANSWER = 100, 128  # the counting example of the papers, in blocks of 32
STEPS, UPDATES = 12, 4
CALIBRATED_ON = 4  # questions


def counted(lab: Lab) -> Figures:
    """Token-forwards of one long answer, one position a step, by what is kept."""
    engine = written_down(MaskedTable.random_masked(5, lab.seed, Masking(4)))
    figures: Figures = {}
    for name, cache in (("none", "recompute"), ("prefix", "prefix-cache"), ("dual", "dual-cache")):
        method = f"low-confidence+blocks(32)+{cache}"
        found = engine.generate([0] * PROMPT, method, max_new_tokens=ANSWER, end_tokens=())
        figures[name] = float(found.counters.token_forwards)
    return figures


def branches(lab: Lab) -> Figures:
    """A fixed number of steps with everything computed, at calibrated steps, and at even ones."""
    engine, work = lab.filler("masked"), Work()
    plain = f"low-confidence(steps={STEPS})+blocks(32)"
    method = methods.parse(plain)
    assert isinstance(method, Diffuse)
    asked = [next(questions(kind, "train", 1, lab.seed)) for kind in work.kinds[:CALIBRATED_ON]]
    prompts = [prompt_of(engine, each) for each in asked]
    schedule = calibrate(engine, prompts, method, UPDATES, max_new_tokens=work.canvas, end_tokens=())
    place = lab.folder / "schedule.json"
    schedule.write(place)
    found = {
        "everything": work.by(lab, plain),
        "calibrated": work.by(lab, f"{plain}+branch-cache({place})"),
        "even": work.by(lab, f"{plain}+branch-cache(updates={UPDATES},steps={STEPS})"),
    }
    computed = sum(map(len, schedule.updates.values())) / (STEPS * len(schedule.updates))
    return told(found, ("right", "as the first")) | {"share computed, calibrated": computed}


CLAIMS = (
    Claim(
        "fast-dllm-caches",
        "fast-dllm",
        f"{PROMPT} + {ANSWER} tokens in blocks of 32: 29,184 token-forwards, with a prefix cache 10,832, dual 4,880",
        "token-forwards of one answer, one position a step",
        Worked(counted, "`low-confidence+blocks(32)` with `recompute`, `prefix-cache`, `dual-cache` on a table"),
        (equal("none", 29184), equal("prefix", 10832), equal("dual", 4880)),
        number=136,
    ),
    Claim(
        "fast-dllm-kept",
        "fast-dllm",
        "keys and values kept outside of the block: several times less is computed, at little loss",
        f"{RIGHT}; token-forwards an answer",
        Filling(
            {
                "nothing kept": "threshold+blocks(16)+end-of-text",
                "prefix": "threshold+blocks(16)+prefix-cache+end-of-text",
                "dual": "threshold+blocks(16)+dual-cache+end-of-text",
            },
            ("right", "token-forwards"),
        ),
        (
            at_most("token-forwards, prefix", 1.0, "token-forwards, nothing kept"),
            at_most("token-forwards, dual", 1 / 2, "token-forwards, nothing kept"),
            at_least("right, dual", CLOSE, "right, nothing kept"),
        ),
        number=136,
        where_not="a canvas of 32 is one block and takes four rounds, the first of which computes everything in "
        "either case",
    ),
    Claim(
        "dkv-cache",
        "dkv-cache",
        "2 to 10 times less is computed at nearly no loss, as tokens are kept only a step after they were filled",
        f"{RIGHT}; token-forwards an answer; share of answers that are the same",
        Filling(
            {
                "nothing kept": ONE,
                "a step later": "low-confidence+blocks(32)+delayed-cache+end-of-text",
                "and the prompt": "low-confidence+blocks(32)+delayed-cache(prompt=true)+end-of-text",
                "at once": "low-confidence+blocks(32)+delayed-cache(delay=0)+end-of-text",
            },
            ("right", "token-forwards", "as the first"),
        ),
        (
            at_most("token-forwards, a step later", 1 / 2, "token-forwards, nothing kept"),
            at_most("token-forwards, and the prompt", 1.0, "token-forwards, a step later"),
            at_least("right, a step later", CLOSE, "right, nothing kept"),
            at_least("as the first, a step later", 1.0, "as the first, at once"),
        ),
        number=261,
    ),
    Claim(
        "elastic-cache",
        "elastic-cache",
        "layers are computed anew only where attention drifts: many times less work, the more the lower the limit",
        f"{RIGHT}; layer-token-forwards an answer",
        Filling(
            {
                "one by one": ONE,
                "always anew": "threshold+sliding(16)+elastic(2)+end-of-text",
                "0.9": "threshold+sliding(16)+elastic(0.9)+end-of-text",
                "never anew": "threshold+sliding(16)+elastic(-1)+end-of-text",
            },
            ("right", "layer-token-forwards"),
        ),
        (
            at_most("layer-token-forwards, 0.9", 1 / 3, "layer-token-forwards, one by one"),
            at_most("layer-token-forwards, 0.9", 1.0, "layer-token-forwards, always anew"),
            at_most("layer-token-forwards, never anew", 1.0, "layer-token-forwards, 0.9"),
            at_least("right, 0.9", CLOSE, "right, one by one"),
        ),
        number=40,
        where_not="one question of 24 goes wrong by the threshold already, where everything is computed anew, and two "
        "more by what is kept",
    ),
    Claim(
        "bac",
        "bac",
        "a third of the attentions and MLPs at steps chosen by calibration: up to 3 times as fast, nothing is lost",
        f"{RIGHT}; share of answers that are the same; share of attentions and MLPs computed",
        Worked(
            branches,
            f"`low-confidence(steps={STEPS})+blocks(32)` alone, and with `branch-cache` of {UPDATES} updates, "
            f"calibrated on {CALIBRATED_ON} training questions or even, on {Work()}; T=0",
        ),
        (
            at_most("share computed, calibrated", 1 / 2),
            at_least("right, calibrated", CLOSE, "right, everything"),
            at_least("as the first, calibrated", 1.0, "as the first, even"),
        ),
        number=264,
        where_not="actions change little from step to step, tokens are masked or not: where one was filled, what a "
        "branch adds is far from what it added the step before, and what is added again is the mask's",
    ),
)
