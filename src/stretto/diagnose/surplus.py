"""How much a hidden state knows beyond the next token: the information that feature-level drafters live on.

The mutual information of h_t and the next K tokens is that with the next token plus a surplus, the sum over j < K of
I(h_t; W_{t+j} | W_t … W_{t+j-1}) (arXiv 2507.19247), at most (K − 1) ln V. Each term is estimated by two probes that
predict W_{t+j}: one reads h_t and the tokens between, the other the tokens alone, with the same network and a zero in
the place of h_t. The difference of their losses on text neither has seen is the estimate. Probes that learn too little
can only make it smaller, or negative: then it counts as 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest

if TYPE_CHECKING:
    from torch import Tensor, nn

ENTRY = Entry(
    name="information-surplus",
    family="diagnostics",
    source="arXiv 2507.19247 (a Markov categorical framework for language modelling)",
    parts="",
    guarantee=Guarantee.NONE,
    number=52,
    needs=("hidden states",),
    summary="how much hidden states know beyond the next token, what heads say, and which contexts lie together",
    command="stretto diagnose",
)

NORMAL = 1.96  # standard errors on either side of an interval of 95 %


@dataclass(frozen=True, slots=True)
class Probe:
    """How probes are trained."""

    size: int = 64  # channels of embeddings and hidden layer, ≥ 1
    epochs: int = 30  # passes over the training part, ≥ 1; the best on the validation part counts
    batch: int = 256  # samples a step, ≥ 1
    rate: float = 3e-3  # of Adam, > 0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.size, self.epochs, self.batch) < 1 or not self.rate > 0:
            raise InvalidRequest(f"{self}", hint="size, epochs and batch from 1, rate above 0")


@dataclass(frozen=True, slots=True)
class Term:
    """One token ahead."""

    offset: int  # j: how far beyond the next token
    difference: float  # nats by which the hidden state lowers the held-out loss; may be negative
    error: float  # standard error of the difference over held-out samples
    loss: float  # nats, with the hidden state
    loss_without: float

    @property
    def surplus(self) -> float:
        """The estimate: not below 0."""
        return max(0.0, self.difference)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of the difference, by the normal approximation; neighbours of one text are not quite independent."""
        return self.difference - NORMAL * self.error, self.difference + NORMAL * self.error


@dataclass(frozen=True, slots=True)
class Surplus:
    """The estimate for all offsets."""

    terms: list[Term]
    bound: float  # (K − 1) ln V

    @property
    def total(self) -> float:
        """Nats; never above the bound."""
        return min(self.bound, sum(term.surplus for term in self.terms))


def information_surplus(hidden: Tensor, following: Tensor, vocabulary: int, probe: Probe = Probe()) -> Surplus:
    """Estimate it from N samples: hidden [N, C], and the K ≥ 2 tokens that follow each, [N, K] ids below V.

    The first 60 % of the samples train, the next 20 % choose the epoch, the last 20 % are told: give samples in the
    order of their texts, so that what is told comes from texts of its own. Raises InvalidRequest below 50 samples.
    """
    count, ahead = following.shape
    if ahead < 2 or count < 50 or len(hidden) != count:
        raise InvalidRequest(
            f"{len(hidden)} hidden rows and {count} x {ahead} following tokens",
            hint="as many rows as samples, 50 or more, each with two following tokens or more",
        )
    hidden = hidden.detach().float().cpu()
    spread = hidden[: int(0.6 * count)].std(0).clamp(min=1e-6)
    hidden = (hidden - hidden[: int(0.6 * count)].mean(0)) / spread
    following = following.cpu()
    terms = []
    for offset in range(1, ahead):
        seen, wanted = following[:, :offset], following[:, offset]
        with_hidden = _held_out(hidden, seen, wanted, vocabulary, probe)
        without = _held_out(torch.zeros_like(hidden), seen, wanted, vocabulary, probe)
        difference = without - with_hidden  # [held out]
        terms.append(
            Term(
                offset,
                float(difference.mean()),
                float(difference.std() / math.sqrt(len(difference))),
                float(with_hidden.mean()),
                float(without.mean()),
            )
        )
    return Surplus(terms, (ahead - 1) * math.log(vocabulary))


def _network(channels: int, tokens: int, vocabulary: int, size: int) -> nn.Module:
    """Predicts a token from a hidden row and the tokens since: one hidden layer over their sum."""
    from torch import nn  # a class of modules needs them when it is defined, and listing this part does not

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = nn.Linear(channels, size)
            self.tokens = nn.ModuleList(nn.Embedding(vocabulary, size) for _ in range(tokens))
            self.mix = nn.Linear(size, size)
            self.out = nn.Linear(size, vocabulary)

        def forward(self, hidden: Tensor, seen: Tensor) -> Tensor:
            """hidden [N, C], seen [N, j] -> logits [N, V]."""
            rows = self.hidden(hidden)
            for at, table in enumerate(self.tokens):
                rows = rows + table(seen[:, at])
            logits: Tensor = self.out(torch.relu(self.mix(torch.tanh(rows))))
            return logits

    return Network()


def _held_out(hidden: Tensor, seen: Tensor, wanted: Tensor, vocabulary: int, probe: Probe) -> Tensor:
    """Losses in nats on the held-out part, [N / 5], of a probe at its best epoch on the validation part."""
    count = len(wanted)
    train, told = int(0.6 * count), int(0.8 * count)
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        hidden, seen, wanted = hidden.clone(), seen.clone(), wanted.clone()  # inference mode's own do not learn
        torch.manual_seed(probe.seed)
        network = _network(hidden.shape[1], seen.shape[1], vocabulary, probe.size)
        optimiser = torch.optim.Adam(network.parameters(), probe.rate)
        best, losses = math.inf, torch.zeros(0)
        for _ in range(probe.epochs):
            order = torch.randperm(train)
            for start in range(0, train, probe.batch):
                batch = order[start : start + probe.batch]
                optimiser.zero_grad()
                loss = torch.nn.functional.cross_entropy(network(hidden[batch], seen[batch]), wanted[batch])
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            with torch.no_grad():
                later = torch.nn.functional.cross_entropy(
                    network(hidden[train:], seen[train:]), wanted[train:], reduction="none"
                )
            validation = float(later[: told - train].mean())
            if validation < best:
                best, losses = validation, later[told - train :]
    return losses
