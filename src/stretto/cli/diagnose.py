"""`stretto diagnose`: what traces say, how far ahead hidden states see, what can be had at once, what is given away."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidRequest
from ..files import require_writable, write_text
from .arguments import MODEL, add_model, load_continuing, token_ids

if TYPE_CHECKING:
    from ..diagnose.arness import Order
    from ..diagnose.metrics import Metrics
    from ..diagnose.parallel import Limits
    from ..diagnose.survey import Layer
    from ..engine import Engine

DRAWN = ("samples", "alpha", "temperature", "top_p", "steer", "max_new_tokens", "seed")  # options of --leaks
QUESTIONS = 40  # of each kind of the gym, at most, where no text is given


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--trace", nargs="+", type=Path, metavar="FILE", help="measure these saved traces, together")
    what.add_argument(
        "--parallel", type=int, metavar="WORDS", help="what writing several words at once can reach, on lists of 3 to 8"
    )
    what.add_argument(
        "--leaks",
        type=Path,
        metavar="FILE",
        help='how much of secrets drawn answers give away: lines such as {"prompt": "…", "secret": "…"}',
    )
    what.add_argument(
        "--phrasings", nargs="+", metavar="KIND", help="how much answers of these kinds of the gym depend on wording"
    )
    what.add_argument("--file", type=Path, help="the text to read a model over (questions and answers of the gym)")
    parser.add_argument(
        "--inversion", action="store_true", help="how few of a model's log-probabilities tell all others, over a text"
    )
    parser.add_argument("--layers", type=token_ids, metavar="L,…", help="0 is the embedding (first, middle and last)")
    parser.add_argument("--ahead", type=int, default=3, metavar="N", help="tokens that follow a position, >= 2 (3)")
    parser.add_argument("--positions", type=int, default=2000, metavar="N", help="positions to read (2000)")
    parser.add_argument("--epochs", type=int, default=30, metavar="N", help="passes that probes train (30)")
    parser.add_argument("--json", action="store_true", help="plain data")
    parser.add_argument("--page", type=Path, metavar="FILE", help="draw a trace, or two side by side, as a page")
    leaks = parser.add_argument_group("of --leaks: how the model is used, and how sure bounds shall be")
    leaks.add_argument("--samples", type=int, metavar="N", help="answers to a prompt (128)")
    leaks.add_argument("--alpha", type=float, metavar="X", help="probability with which bounds may fail (0.01)")
    leaks.add_argument("--temperature", type=float, metavar="X", help="above 0")
    leaks.add_argument("--top-p", type=float, metavar="X")
    leaks.add_argument("--steer", action="append", metavar="PART", help="such as settling(0.9)")
    leaks.add_argument("--max-new-tokens", type=int, metavar="N")
    leaks.add_argument("--seed", type=int, metavar="N")
    add_model(parser)
    parser.set_defaults(model=None)  # named where nothing is read, it is refused


def run(given: argparse.Namespace) -> int:
    """Print metrics of traces, what writing at once can reach, or what a model's layers know."""
    if given.model and (given.parallel is not None or given.trace):
        option = "--trace" if given.trace else "--parallel"
        raise InvalidRequest(f"{option} reads no model", hint=f"leave out --model {given.model}")
    if given.inversion and (given.trace or given.leaks or given.phrasings or given.parallel is not None):
        raise InvalidRequest("--inversion stands alone, or with --file", hint="ask for one thing at a time")
    named = [name for name in DRAWN if getattr(given, name) is not None]
    if named and not given.leaks:
        raise InvalidRequest(f"--{named[0].replace('_', '-')} is of drawn answers", hint="name secrets: --leaks FILE")
    if given.page is not None:
        if len(given.trace or ()) not in (1, 2):
            raise InvalidRequest("--page draws one trace or two", hint="name them: --trace FILE FILE")
        require_writable(given.page)
    if given.leaks:
        return _leaks(given)
    if given.phrasings:
        return _phrasings(given)
    if given.inversion:
        return _inversion(given)
    if given.parallel is not None:
        from ..diagnose.parallel import all_limits

        limits = all_limits(given.parallel)
        print(json.dumps([asdict(each) for each in limits], indent=1) if given.json else of_limits(limits))
        return 0
    if given.trace:
        from ..diagnose.arness import order_of_records
        from ..diagnose.metrics import metrics_of_records

        records = [_record(file) for file in given.trace]
        found = metrics_of_records(records)
        order = order_of_records(records) if found.filled else None
        if given.page is not None:
            from ..page import page

            write_text(given.page, page(records))
        if given.json:
            told = found.record() | ({} if order is None else {"ar_ness": order.record()})
            print(json.dumps(told, indent=1))
        else:
            print("\n".join([of_traces(found), *([] if order is None else of_order(order))]))
        return 0
    layers = _survey(given)
    if given.json:
        print(json.dumps([asdict(layer) | {"surplus_total": layer.surplus.total} for layer in layers], indent=1))
    else:
        print(of_layers(layers))
    return 0


def of_traces(found: Metrics) -> str:
    """The metrics as lines."""
    ratios = ", ".join(f"{value:.2f} at {cost}" for cost, value in found.record()["simulated_ratio"].items())
    lines = [
        f"{found.new_tokens} tokens in {found.rounds} rounds of {found.answers} answers",
        f"tokens per forward (τ)     {found.block_efficiency:.3f}",
        f"accepted per drafted node  {found.acceptance:.3f}, {found.nodes_per_token:.2f} nodes per token",
        f"simulated ratio            {ratios} (cost of a drafted level, in forwards)",
    ]
    lines += [
        f"depth {depth:2}                   {share.rate:.3f} of {share.tried}"
        for depth, share in sorted(found.by_depth.items())
    ]
    if found.accepted:
        shares = (f"{rank}: {count / found.accepted:.2f}" for rank, count in sorted(found.by_rank.items()))
        lines.append(f"accepted by rank           {', '.join(shares)}")
    for source, share in sorted(found.by_source.items()):
        lines.append(f"from {source:22}{share.rate:.3f} of {share.tried} nodes")
    written = (f"{source or 'the model itself'} {count}" for source, count in sorted(found.written_by.items()))
    lines.append(f"written by                 {', '.join(written)}")
    return "\n".join(lines)


def of_order(found: Order) -> list[str]:
    """How far positions were filled from left to right."""
    record = found.record()
    lines = []
    for name, title in (
        ("global", "among the k leftmost masks"),
        ("global_of_random_orders", "  of random orders"),
        ("local", "k in a row side by side"),
    ):
        shares = "  ".join(f"{size}: {share:.2f}" for size, share in record[name].items())
        lines.append(f"{title:27}{shares}")
    return lines


def of_limits(limits: Sequence[Limits]) -> str:
    """A line for each kind of question; a step for each word, which is right for all, is left out."""
    lines = [
        "                                            likeliest    drawn at once, in so many steps",
        f"{'task':22}words  right  nats lost  at once  {1:9}{2:9}{4:9}{8:9}",
    ]
    for each in limits:
        shares = "".join(f"{each.accuracy[steps]:9.3g}" for steps in (1, 2, 4, 8) if steps < each.positions)
        outcome = "right" if each.greedy else "wrong"
        lines.append(f"{each.kind:22}{each.positions:5}{each.answers:7}{each.correlation:11.4f}  {outcome:7}  {shares}")
    return "\n".join(lines)


def of_layers(layers: Sequence[Layer]) -> str:
    """A line for each layer; all figures in nats but the overlaps."""
    lines = ["layer  surplus  by token ahead (95 %)"]
    for layer in layers:
        terms = (
            f"+{term.offset}: {term.difference:.3f} [{term.interval[0]:.3f}, {term.interval[1]:.3f}]"
            for term in layer.surplus.terms
        )
        lines.append(f"{layer.layer:5}  {layer.surplus.total:7.3f}  {'  '.join(terms)}")
    lines += ["", "layer  entropy      gap  overlap of the first directions"]
    for layer in layers:
        overlaps = "  ".join(f"{size}: {value:.2f}" for size, value in layer.overlaps.items())
        lines.append(f"{layer.layer:5}  {layer.entropy:7.3f}  {layer.gap:7.3f}  {overlaps}")
    return "\n".join(lines)


def _leaks(given: argparse.Namespace) -> int:
    """Print what drawn answers give away at most."""
    from ..diagnose.leakage import ALPHA, SAMPLES, probed, record, table
    from ..request import Request

    asked = [_secret(given.leaks, line) for line in given.leaks.read_text(encoding="utf-8").splitlines() if line]
    names = {"steer": "steers"}
    settings = {names.get(name, name): getattr(given, name) for name in DRAWN[2:]}
    settings = {name: value for name, value in settings.items() if value is not None}
    samples, alpha = given.samples or SAMPLES, ALPHA if given.alpha is None else given.alpha
    Request.of({**settings, "samples": samples})
    given.model = given.model or MODEL
    engine = load_continuing(given, hint="name a causal model")
    found = probed(engine.generate, asked, samples, alpha, **settings)
    print(json.dumps(record(found), indent=1) if given.json else table(found, alpha))
    return 0


def _secret(file: Path, line: str) -> tuple[Any, str]:
    """Prompt and secret of one line. Raises InvalidRequest."""
    try:
        found = json.loads(line)
        return found["prompt"], str(found["secret"])
    except (ValueError, TypeError, KeyError) as error:
        hint = 'each line is such as {"prompt": "Who is …?", "secret": "what must not come out"}'
        raise InvalidRequest(f"{file}: no prompt and secret ({error!r})", hint=hint) from error


def _phrasings(given: argparse.Namespace) -> int:
    """Print how much right answers depend on wording."""
    from .. import gym
    from ..diagnose.sensitivity import of_kind, table

    for kind in given.phrasings:
        gym.task(kind)
    given.model = given.model or MODEL
    engine = load_continuing(given, hint="name a causal model")
    found = [of_kind(engine.generate, kind) for kind in given.phrasings]
    print(json.dumps([asdict(each) for each in found], indent=1) if given.json else table(found))
    return 0


def _inversion(given: argparse.Namespace) -> int:
    """Print how few log-probabilities tell all others."""
    from ..diagnose.inversion import readable, table

    given.model = given.model or MODEL
    engine = load_continuing(given, hint="name a causal model")
    found = readable(engine.model, _texts(engine, given.file), given.positions)
    print(json.dumps(asdict(found), indent=1) if given.json else table(found))
    return 0


def _record(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidRequest(f"{file} is no JSON", hint="save a trace with `stretto generate --trace FILE`") from error
    if not isinstance(record, dict):
        raise InvalidRequest(f"{file} holds no trace", hint="save one with `stretto generate --trace FILE`")
    return record


def _survey(given: argparse.Namespace) -> list[Layer]:
    from tqdm import tqdm

    from ..diagnose.surplus import Probe
    from ..diagnose.survey import survey

    probe = Probe(epochs=given.epochs)
    if given.positions < 1:
        raise InvalidRequest(f"{given.positions} positions", hint="--positions >= 50")
    given.model = given.model or MODEL
    engine = load_continuing(given, hint="name a causal model; of a masked one: stretto diagnose --trace FILE …")
    last = engine.model.layers
    return survey(
        engine.model,
        _texts(engine, given.file),
        given.layers or sorted({0, last // 2, last}),
        ahead=given.ahead,
        positions=given.positions,
        probe=probe,
        each=lambda layers: tqdm(list(layers), unit="layer", leave=False, disable=None, delay=2),
    )


def _texts(engine: Engine, file: Path | None) -> Iterator[list[int]]:
    """Token lists that fit the model: pieces of the file, or questions of the gym with their answers."""
    from .. import gym

    if file is None:
        for number in range(QUESTIONS):
            for kind in gym.tasks():
                question = gym.written(kind, "test", f"diagnose/{number}")
                yield engine.codec.encode_piece(f"{question.prompt}\n{question.answer}")
        return
    try:
        tokens = engine.codec.encode_piece(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{file} is not UTF-8 text", hint="convert it first") from error
    size = min(512, engine.model.max_positions)
    yield from (tokens[start : start + size] for start in range(0, len(tokens), size))
