"""The family `quadratic`: a network of two layers with the square as its activation, over a sum of embeddings.

    s_t = sum of E[token_i] over the document up to t,   logits_t = W_out (W_in s_t)^2,   the square entry by entry

A question is a pair of numbers: behind the first one nothing is answered, and the logits are zero, a uniform guess.
It is the network in which grokking of modular arithmetic has a solution in closed form (Gromov, arXiv 2301.02679,
Eq. 1), with one embedding for both numbers: a square of waves of a and b holds the waves of a + b. There are no biases
and no norms. State is a value: the sum goes in with the tokens and comes out, so any split into calls gives the same.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from atlas_ref.blocks.timeline import Resets, resets_of
from atlas_ref.config.quadratic import QuadraticConfig
from atlas_ref.memory.plan import token_positions
from atlas_ref.memory.state import StateTree
from atlas_ref.models.family import Measurements, Model, Telemetry

PAIR = 2
"""Tokens of a question."""


@dataclass(frozen=True)
class QuadraticState(StateTree):
    """Tokens of each row's document so far, and the sum of their embeddings."""

    position: Int[Tensor, " batch"]
    total: Float[Tensor, "batch model"]


class QuadraticOutput(NamedTuple):
    """What a call returns (`family.Output`); no layer has anything to tell, and there are no gates."""

    logits: Float[Tensor, "batch time vocab"]
    state: QuadraticState
    telemetry: tuple[Telemetry, ...] = ()
    indecision: None = None


class QuadraticModel(Model):
    """A network of the family; the same seed gives the same parameters.

    Embeddings are drawn from N(0, 1), each matrix uniformly within 1 / sqrt(width of what it multiplies).
    """

    config: QuadraticConfig

    def __init__(self, config: QuadraticConfig, seed: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.hidden = nn.Linear(config.d_model, config.hidden, bias=False)
        self.head = nn.Linear(config.hidden, config.vocab_size, bias=False)
        self._initialise(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        self.embedding.weight.normal_(generator=generator)
        for layer in (self.hidden, self.head):
            bound = 1.0 / math.sqrt(layer.in_features)
            layer.weight.uniform_(-bound, bound, generator=generator)

    def initial_state(self, batch: int) -> QuadraticState:
        """Return the state of `batch` rows before their first token: sums of nothing."""
        weight = self.embedding.weight
        none = torch.zeros(batch, dtype=torch.long, device=weight.device)
        return QuadraticState(none, weight.new_zeros(batch, self.config.d_model))

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        state: QuadraticState,
        reset: Bool[Tensor, "batch time"] | Resets | None,
        outer_step: int | None = None,
        penalised: bool = False,
        measured: bool = True,
    ) -> QuadraticOutput:
        """Return logits and state; nothing here depends on `outer_step`, and there is nothing to penalise or tell."""
        del outer_step, penalised, measured
        embedded, begins, total = self.embedding(tokens), resets_of(reset).memory, state.total
        position = token_positions(state.position, begins, tokens.shape[1])
        sums = []
        for time, x in enumerate(embedded.unbind(1)):
            added = total + x
            total = added if begins is None else torch.where(begins[:, time, None], x, added)
            sums.append(total)
        answered = position >= PAIR - 1
        asked = (torch.stack(sums, 1) if sums else embedded)[answered]
        answers: Tensor = self.head(self.hidden(asked).square())
        logits = answers.new_zeros(*tokens.shape, self.config.vocab_size).index_put((answered,), answers)
        return QuadraticOutput(logits, QuadraticState(position[:, -1] + 1 if sums else state.position, total))

    def parts(self) -> list[nn.Module]:
        """Return the two layers."""
        return [self.hidden, self.head]


def measure_call(output: QuadraticOutput, config: QuadraticConfig) -> tuple[Measurements, ...]:
    """Return no table: what there is to watch is how the model answers (`watching.grokking`)."""
    del output, config
    return ()
