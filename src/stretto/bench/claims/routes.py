"""Claims of what shares the plumbing without keeping the output: switches, filters, searches, diagnostics."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch

from ...diagnose.surplus import Probe, information_surplus
from ...diagnose.survey import read
from ...generation import Generation
from ...route.ambedkar import Swap, divergence
from ...route.reverse import TEACHER
from ...text import Prompt
from ..contestants import with_models
from .contract import Claim, Figures, at_least, at_most, equal
from .lab import Lab, Worked
from .turns import KINDS, QUESTIONS, TAU, begun, switching

PROMPTS = (
    "Once upon a time, there was a little girl named Sue. She",
    "One day, a boy went to the park with his mother. He",
    "The girl had a new toy. She wanted to",
    "A man worked in a big garden. He liked",
    "The woman was a doctor. Every day she",
    "Tom is a good boy and he likes to",
)
SWAPS = ("girl:boy", "she:he", "her:his", "woman:man", "mother:father", "Sue:Tom", "herself:himself")
POSITIONS = 2500  # whose hidden states are probed
DRAFTS = 3  # at once, of one prompt


def answers(lab: Lab, text: str, prompts: Sequence[Prompt], **settings: object) -> list[Generation]:
    """One after the other, by a method that may name the draft model."""
    subject = lab.subject
    lab.draft_model()
    subject.replayed.follow(None)
    method = with_models(text, subject.replayed, lab.draft, subject.load)
    return [subject.engine.generate(prompt, method, **settings) for prompt in prompts]


def tailored(lab: Lab) -> Figures:
    """The share of a teacher's tokens to which its student gives less than 1 %: in its own texts, and after vetoes."""
    prompts = [case.prompt for name in ("free:gsm8k", "free:stories") for case in lab.prepared(name, 1.0, 3, 96).cases]
    figures: Figures = {}
    for name, text in (("teacher's own", "reverse(tau=0.0)"), ("tailored", "reverse")):
        rare = total = 0
        for found in answers(lab, text, prompts, temperature=1.0, seed=lab.seed, max_new_tokens=96):
            whole = [*found.prompt_tokens, *found.tokens]
            said = lab.logits(lab.draft_model(), [whole[:-1]], len(found.tokens))[0].double().softmax(-1)
            sources = [source for step in found.steps for source in step.sources]
            for token, source, line in zip(found.tokens, sources, said, strict=True):
                if source == TEACHER:
                    rare += bool(line[token] < 0.01)
                    total += 1
        figures[name] = rare / max(1, total)
    return figures


def swapped(lab: Lab) -> Figures:
    """How much a text depends on who its prompt is about: mean divergence of its tokens when words are swapped."""
    figures: Figures = {}
    pairs = ",".join(SWAPS)
    for name, settings in (("filtered", "least_q=0.05"), ("small model alone", "fluency=1000.0")):
        spread: list[float] = []
        for found in answers(lab, f"ambedkar({pairs},{settings})", PROMPTS, max_new_tokens=24):
            spread += _divergences(lab, found)
        figures[name] = sum(spread) / len(spread)
    return figures


def _divergences(lab: Lab, found: Generation) -> list[float]:
    """Of each token of an answer, between the target's probabilities after the prompt and after the swapped one."""
    engine = lab.subject.engine
    prompt = engine.decode(found.prompt_tokens)
    sides = []
    for text in (prompt, Swap.of(SWAPS)(prompt)):
        whole = [*engine.encode(text), *found.tokens]
        said = lab.logits(lab.subject.replayed, [whole[:-1]], len(found.tokens))[0].double().softmax(-1)
        sides.append(said.gather(1, torch.tensor(found.tokens)[:, None])[:, 0])
    values: list[float] = divergence(*sides).tolist()
    return values


def superposing(lab: Lab) -> Figures:
    """Forwards a token of three drafts, and what a token costs under the plain model: superposed, and by nucleus."""
    corpus = lab.fill("{corpus replay:stories}")
    prompts = [case.prompt for case in lab.prepared("free:stories", 1.0, lab.count or 6, 96).cases]
    sides = {
        "superposed": (f"superposed(text={corpus})", {}),
        "without n-grams": ("superposed(alpha=0.0)", {}),
        "nucleus": ("plain", {"temperature": 1.0, "top_p": 0.9, "seed": lab.seed}),
    }
    figures: Figures = {}
    for name, (text, settings) in sides.items():
        forwards = tokens = 0
        nats: list[float] = []
        for prompt in prompts:
            found = lab.subject.engine.generate([prompt], text, samples=DRAFTS, max_new_tokens=12, **settings)
            forwards += found[0].counters.rounds if name != "nucleus" else sum(each.counters.rounds for each in found)
            tokens += sum(len(each.tokens) for each in found)
            for each in found:
                if each.tokens:
                    said = lab.logits(lab.subject.replayed, [[*prompt, *each.tokens][:-1]], len(each.tokens))[0]
                    chosen = said.log_softmax(-1).gather(1, torch.tensor(each.tokens)[:, None])
                    nats += (-chosen[:, 0]).tolist()
        figures[f"forwards a token, {name}"] = forwards / max(1, tokens)
        figures[f"nats, {name}"] = sum(nats) / len(nats)
    return figures


def beyond(lab: Lab) -> Figures:
    """Nats that the last hidden state knows of the token after the next; and when states are shuffled."""
    model = lab.subject.replayed
    model.follow(None)
    texts = [tokens for name in ("gym:sql", "gym:word_problem") for tokens in lab.tokens(name, 60)]
    random.Random(lab.seed).shuffle(texts)  # what is held out is of both kinds
    with torch.inference_mode():
        reading = read(model, texts, (model.layers,), 2, POSITIONS)
    hidden, probe = reading.hidden[model.layers], Probe(epochs=8)
    order = torch.randperm(len(hidden), generator=torch.Generator().manual_seed(lab.seed))
    found: Figures = {
        "surplus": information_surplus(hidden, reading.following, model.vocabulary, probe).total,
        "surplus, shuffled": information_surplus(hidden[order], reading.following, model.vocabulary, probe).total,
    }
    return found


CLAIMS = (
    Claim(
        "entropy-adaptive",
        "entropy-adaptive",
        "96.7 % of the large model's accuracy with 43 % of the tokens written by it",
        "share of gym questions answered rightly; of tokens that the large model writes",
        Worked(
            switching,
            f"`entropy(tau={TAU})`, and the same share of the tokens, or of the answers, given to the "
            f"large model at random, on {len(KINDS)} kinds of the gym, {QUESTIONS} of each; T=0",
        ),
        (
            at_least("at its later ones", 1.2, "share of the large one"),
            at_least("mixed", 1.0, "switched at random"),
            at_least("mixed", 0.9, "large"),
        ),
        number=198,
        where_not="the mean entropy of the tokens before sends the large model to the small one's later mistakes, but "
        "seldom to its first, of which it knows nothing yet; these answers are short and one wrong token spoils them",
    ),
    Claim(
        "weak-to-strong",
        "weak-to-strong",
        "an answer that a small model begins stays as right as the large one's; 5 to 30 % of it are the small one's",
        "share of gym questions answered rightly; of tokens that the small model writes",
        Worked(
            begun, f"`weak-to-strong`, either model alone, on {len(KINDS)} kinds of the gym, {QUESTIONS} of each; T=0"
        ),
        (
            at_least("right, begun", 0.95, "right, large"),
            at_least("share of the small one", 0.05),
            at_most("share of the small one", 0.3),
        ),
        number=144,
        where_not="the first six tokens are the small model's, likely or not, and these answers are short: one wrong"
        " token among them spoils an answer",
    ),
    Claim(
        "reverse-speculative-traces",
        "reverse-speculative-traces",
        "a teacher's trace holds several % of tokens that its student would hardly write; tailored ones hold none",
        "share of the teacher's tokens below 1 % under the student",
        Worked(tailored, "`reverse`, `reverse(tau=0)` on free:gsm8k, free:stories; T=1"),
        (at_least("teacher's own", 0.01), equal("tailored", 0.0, 1e-9)),
        number=149,
    ),
    Claim(
        "ambedkar",
        "ambedkar",
        "choosing what changes least when identity words are swapped takes away most of a text's bias",
        "mean divergence of a token's probability under the swap",
        Worked(swapped, f"`ambedkar(…,least_q=.05)` and the small model alone on {len(PROMPTS)} prompts; T=0"),
        (at_most("filtered", 1 / 3, "small model alone"),),
        number=112,
    ),
    Claim(
        "superposed",
        "superposed",
        "three drafts for the forwards of one, 2.44 × as fast, at least as fluent as nucleus sampling",
        "forwards a token; nats a token under the plain model",
        Worked(superposing, f"`superposed`, nucleus .9, {DRAFTS} drafts of 12 tokens on free:stories"),
        (
            at_least("forwards a token, nucleus", 2.44, "forwards a token, superposed"),
            at_most("nats, superposed", 1.0, "nats, nucleus"),
        ),
        number=60,
    ),
    Claim(
        "information-surplus",
        "information-surplus",
        "hidden states know of tokens beyond the next, which is what feature-level drafters live on",
        "nats about the token after the next",
        Worked(beyond, f"two probes at the last layer on {POSITIONS} positions of gym:sql, gym:word_problem; held out"),
        (at_least("surplus", 0.05), at_most("surplus, shuffled", 0.02)),
        number=52,
    ),
)
