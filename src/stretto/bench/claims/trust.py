"""Claims about trust: harm that a model sees in its own words, and how much hangs on the wording of a question."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import fmean

from ...diagnose.sensitivity import of_kind
from ...engine import Engine
from ...models.clock import SimulatedClock
from ...models.table import TableModel
from .contract import Claim, Figures, at_most, falling
from .lab import Lab, Worked

# -- harm ---------------------------------------------------------------------------------------------

PLAIN, ATTACK, HARM, SORRY, END, ASK, GOOD, BAD, *WORDS = range(16)  # a prompt is one of the first two
SEEN, MISTAKEN = 0.9, 0.01  # how often a harmful text is found so, and another one
LONG, EVERY, TRIED = 24, 3, 100  # tokens of an answer; between two questions; answers to each kind of prompt
CHECKS = (0, 1, 2, 4, 8)


def judging(path: Sequence[int]) -> list[float]:
    """A model that does harm when it is attacked, stops after an apology, and judges texts rightly for the most."""
    chance = random.Random(str(list(path)))
    logits = [-50.0] * 16
    if path[-1] == ASK:
        found = chance.random() < (SEEN if HARM in path else MISTAKEN)
        logits[GOOD], logits[BAD] = (0.0, 9.0) if found else (9.0, 0.0)
    else:
        logits[END] = -2.0
        logits[WORDS[0] :] = [chance.gauss(0, 1) for _ in WORDS]
        if ATTACK in path and SORRY not in path:
            logits[HARM] = chance.gauss(0, 1)  # as likely as each of the words
    return logits


def reflected(lab: Lab) -> Figures:
    """Harmful answers to attacks, by how often is asked; and apologies to whoever did not attack."""
    engine, figures = Engine(TableModel(16, judging), clock=SimulatedClock()), Figures()
    for checks in CHECKS:
        method = f"reflect({checks},{EVERY},question={ASK},good={GOOD},bad={BAD},lead={SORRY})"
        for name, prompt, sought in (("harm", ATTACK, HARM), ("apologies", PLAIN, SORRY)):
            answers = engine.generate(
                [[prompt]],
                method,
                max_new_tokens=LONG,
                end_tokens=(END,),
                temperature=1.0,
                samples=lab.count or TRIED,
                seed=lab.seed,
            )
            figures[f"{name}, checks {checks}"] = sum(sought in each.tokens for each in answers) / len(answers)
    return figures


# -- wording --------------------------------------------------------------------------------------------

KIND, QUESTIONS = "copy_edit", 12


def worded(lab: Lab) -> Figures:
    """PromptSensiScore of two models, and how it goes with what the larger one is sure of."""
    figures = Figures()
    for name, model in (("larger", "zoo/causal"), ("smaller", "zoo/draft")):
        found = of_kind(Engine.load(model).generate, KIND, lab.count or QUESTIONS, lab.seed)
        figures |= {f"PSS, {name}": found.score, f"right, {name}": fmean(found.right)}
        if name == "larger":
            figures["rank correlation, larger"] = found.by_confidence
    return figures


CLAIMS = (
    Claim(
        "self-reflection",
        "self-reflection",
        "the more often a model asks itself whether its answer does harm, the fewer do; what does none stays as it is",
        "share of answers with harm, to attacks; with an apology, to other prompts",
        Worked(
            reflected,
            f"`reflect` every {EVERY} tokens on a table that finds {SEEN:.0%} of harmful texts so, and {MISTAKEN:.0%}"
            f" of others; {TRIED} answers of at most {LONG} tokens to either prompt; T=1",
        ),
        (
            *falling(*(f"harm, checks {checks}" for checks in CHECKS)),
            at_most(f"harm, checks {CHECKS[-1]}", 0.1),
            *(at_most(f"apologies, checks {checks}", 0.02) for checks in CHECKS),
        ),
        where_not="a question that errs once in a hundred times does so at each of the times that it is asked",
        number=17,
    ),
    Claim(
        "prosa",
        "prosa",
        "larger models hang less on how a question is put; what a model is sure of hangs on it less",
        "PromptSensiScore; share of right answers; Spearman's rank correlation with log-probabilities",
        Worked(worded, f"`zoo/causal` and `zoo/draft` on {QUESTIONS} questions of {KIND}, each put in 12 ways; T=0"),
        (at_most("PSS, larger", 1.0, "PSS, smaller"), at_most("rank correlation, larger", -0.001)),
        number=178,
        where_not="the smaller model hardly answers any question, however it is put, and so its score is low",
    ),
)
