"""Claims of drafters without a model: copies, tables, datastores, Jacobi iteration."""

from __future__ import annotations

import statistics
from difflib import SequenceMatcher

from ... import gym
from ...generation import Counters
from ..replay import Replayed
from ..tasks import Exercise
from .contract import Absent, Claim, Figures, at_least, at_most, falling
from .lab import Decoding, Lab, Race, Score, Worked

COPYING = (
    "gym:extract_json",
    "gym:json_edit",
    "gym:python_rename",
    "gym:copy_edit",
)  # answers that copy their question
FORMAL = ("gym:sql", "gym:python_function", "gym:extract_json")  # answers in a formal language
PROSE = ("replay:stories", "replay:wikitext")
TAU = "tokens per round"
BOTH = "path={store replay:mbpp},repository={store gym:python_function}"
MANY = 8  # samples of one prompt
VARIED = ("worked_arithmetic", "story")  # answers that differ from sample to sample
VARIANTS = 4  # questions of each of these
SENTENCES = 24  # that are corrected
FEW = 2  # edits of a sentence


def samples(lab: Lab) -> Figures:
    """τ of 1, 2 and 8 samples decoded together at T=0.7; each question is answered eight times in each way.

    Whether they are solved or not: of eight equal answers, written at the same pace, none is ahead of the others.
    """
    subject = lab.subject
    subject.replayed.follow(None)
    counters = {number: Counters() for number in (1, 2, MANY)}
    for question in (each for kind in VARIED for each in gym.questions(kind, "test", lab.count or VARIANTS, lab.seed)):
        prompt = subject.encode(Exercise(question.prompt))
        for number, found in counters.items():
            for turn in range(MANY // number):
                settings = {"samples": number, "temperature": 0.7, "seed": lab.seed + turn, "max_new_tokens": 96}
                for each in subject.engine.generate([prompt], "consensus+fixed(16)", **settings):
                    found.add(each.counters)
    return {f"{number} sample{'s' * (number > 1)}": found.tokens_per_round for number, found in counters.items()}


def edits(lab: Lab) -> Figures:
    """Rounds of copying on corrections, beside 1 + 2 for each place at which source and correction differ."""
    score, few = Score(), Score()
    expected, counted = 0, lab.count or SENTENCES
    prepared = lab.prepared("replay:correction", 0.0, counted, 96)
    for case in prepared.first(counted).cases:
        wanted = [token for token in case.expected if token not in lab.subject.ends]
        ends = (0, len(wanted))  # what the prompt has before and after its sentence is no edit
        blocks = SequenceMatcher(None, case.prompt, wanted, autojunk=False).get_opcodes()
        changed = sum(tag != "equal" and not (begin == end and begin in ends) for tag, _, _, begin, end in blocks)
        expected += 1 + 2 * changed
        one = lab.case_score("copy+fixed(64)", case)
        score.add(one)
        if changed <= FEW:
            few.add(one)
    if not score.counters.new_tokens:
        raise Absent("nothing to measure on replay:correction", hint="more exercises: --count")
    return {
        "τ": score.tokens_per_round,
        f"τ, at most {FEW} edits": few.tokens_per_round,
        "rounds": float(score.counters.row_forwards),
        "1 + 2 × edits": float(expected),
    }


def images(lab: Lab) -> Figures:
    """Rounds saved where neighbours are alike: a table of 16 shades, each near the one before, as in a smooth image."""
    from ...engine import Engine
    from ...models.clock import SimulatedClock
    from ...models.table import TableModel

    shades = 16

    def rule(text: tuple[int, ...]) -> list[float]:
        return [-0.02 * (shade - text[-1]) ** 2 for shade in range(shades)]

    engine = Engine(Replayed(TableModel(shades, rule)), clock=SimulatedClock())
    figures: Figures = {}
    for name, text in IMAGES.items():
        found = [
            engine.generate([0, 1], text, temperature=1.0, seed=seed, max_new_tokens=200).counters.tokens_per_round
            for seed in range(3)
        ]
        figures[name] = statistics.mean(found)
    return figures


IMAGES = {
    "sjd": "sjd(start=repeat)+rejection+fixed(16)",
    "by identity": "sjd(start=repeat)+exact+fixed(16)",
    "jacobi with the row's noise": "jacobi(start=repeat)+fixed(16)",
}
CLAIMS = (
    Claim(
        "prompt-lookup",
        "prompt-lookup",
        "2.4 × on summaries and questions over a passage, where the answer copies the input",
        TAU,
        Decoding({"lookup": "lookup+fixed(10)"}, COPYING),
        (at_least("lookup", 2.4),),
    ),
    Claim(
        "prompt-lookup-prose",
        "prompt-lookup",
        "where there is nothing to copy it costs next to nothing",
        "speed over plain decoding",
        Race({"lookup": "lookup"}, PROSE, count=3, repeats=5),
        (at_least("lookup", 0.95),),
    ),
    Claim(
        "suffix-automaton",
        "suffix-automaton",
        "1.6 × the tokens per second of n-gram lookup on agents' traces, which repeat earlier episodes",
        TAU,
        Decoding({"suffix": "suffix(shared=true,bias=0)+fixed(32)", "lookup": "lookup+fixed(32)"}, FORMAL, count=8),
        (at_least("suffix", 1.05, "lookup"), at_least("lookup", 1.0)),
    ),
    Claim(
        "lookahead",
        "lookahead-decoding",
        "1.5 to 2.3 ×, most on code, without any draft model",
        TAU,
        Decoding({"lookahead": "lookahead+fixed(56)"}, (*FORMAL, "gym:worked_arithmetic")),
        (at_least("lookahead", 1.3),),
    ),
    Claim(
        "rest",
        "rest",
        "1.6 to 2.4 × with a datastore of text like the answers; nothing elsewhere",
        TAU,
        Decoding(
            {
                "its own kind": "store(path={store gym:sql gym:python_function gym:extract_json})+fixed(64)",
                "other text": "store(path={store replay:wikitext})+fixed(64)",
            },
            FORMAL,
        ),
        (at_least("its own kind", 1.6), at_least("its own kind", 1.3, "other text")),
    ),
    Claim(
        "aded",
        "aded",
        "up to 2.5 ×; the table adapts to what is being written",
        TAU,
        Decoding(
            {
                "adaptive": "aded(corpus={corpus replay:stories})+fixed(64)",
                "frozen": "aded(corpus={corpus replay:stories},step=0.0)+fixed(64)",
            },
            ("gym:worked_arithmetic", "gym:sql", "gym:table_sentences"),
        ),
        (at_least("adaptive", 1.1, "frozen"), at_least("frozen", 1.0)),
        number=5,
    ),
    Claim(
        "jacobi-forcing",
        "jacobi-forcing",
        "tuned weights write 4 tokens a forward; a second block and recycled tails add to plain Jacobi iteration",
        TAU,
        Decoding(
            {
                "blocks and pool": "jacobi(block=32,blocks=2,pool=4)+fixed(320)",
                "one block": "jacobi(block=32)+fixed(31)",
            },
            FORMAL,
        ),
        (at_least("blocks and pool", 1.0, "one block"), at_least("one block", 1.0), at_most("one block", 2.0)),
        number=22,
    ),
    Claim(
        "aggressive-decoding",
        "aggressive-decoding",
        "7 to 9 × on grammar correction: about 1 + 2 rounds per edit, whatever the length",
        "tokens per round; rounds in all",
        Worked(edits, f"`copy+fixed(64)` on replay:correction; T=0, {SENTENCES} sentences"),
        (at_most("rounds", 1.25, "1 + 2 × edits"), at_least(f"τ, at most {FEW} edits", 5.0)),
        number=29,
        where_not="these sentences of 32 tokens have 3.6 edits of 1.7 new tokens each in this small vocabulary, and "
        "every new token takes a round",
    ),
    Claim(
        "speculative-jacobi",
        "speculative-jacobi",
        "about 2 × fewer steps on image tokens when sampling, where Jacobi iteration by identity gains next to nothing",
        TAU,
        Worked(
            images,
            "; ".join(f"{name}: `{text}`" for name, text in IMAGES.items())
            + " on a table of 16 shades, each near the one before; T=1, 3 seeds",
        ),
        (at_least("sjd", 1.5), at_least("sjd", 1.2, "by identity")),
        number=48,
    ),
    Claim(
        "token-recycling",
        "token-recycling",
        "about 2 × on every task with a table below 2 MB; rejected nodes teach most of it",
        TAU,
        Decoding(
            {"recycle": "recycle+fixed(80)", "from accepted nodes only": "recycle(rejected=false)+fixed(80)"},
            (*FORMAL, "gym:worked_arithmetic"),
        ),
        (at_least("recycle", 1.8), at_least("recycle", 1.02, "from accepted nodes only")),
        number=61,
    ),
    Claim(
        "rasd",
        "rasd",
        "a model's tree with retrieved branches beats the model's tree and the retriever, each alone",
        TAU,
        Decoding(
            {
                "fused": "rasd(draft-tree,lookup(matches=4))+fixed(40,depth=10)",
                "model": "draft-tree+fixed(40,depth=10)",
                "retrieval": "lookup(matches=4)+fixed(40,depth=10)",
            },
            COPYING,
        ),
        (at_least("fused", 1.0, "model"), at_least("fused", 1.0, "retrieval")),
        number=62,
    ),
    Claim(
        "codeswift",
        "codeswift",
        "the repository's own store adds to general code; skipping searches that rarely pay costs little",
        TAU,
        Decoding(
            {
                "both stores": f"codeswift({BOTH},threshold=0.0)+fixed(64)",
                "general code": "codeswift(path={store replay:mbpp},threshold=0.0)+fixed(64)",
                "both, skipping": f"codeswift({BOTH})+fixed(64)",
            },
            ("gym:python_function",),
            count=8,
        ),
        (at_least("both stores", 1.1, "general code"), at_least("both, skipping", 0.95, "both stores")),
        number=81,
    ),
    Claim(
        "multi-sample",
        "multi-sample",
        "samples of one prompt draft for each other: the more there are, the more is accepted",
        TAU,
        Worked(
            samples,
            f"`consensus+fixed(16)` on {VARIANTS} questions each of the gym's {', '.join(VARIED)}; T=0.7, {MANY} "
            f"answers to each, 1, 2 and {MANY} at a time",
        ),
        (*falling("8 samples", "2 samples", "1 sample"), at_least("8 samples", 1.1, "1 sample")),
        number=102,
    ),
)
