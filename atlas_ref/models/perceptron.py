"""The family `perceptron`: dense layers over the sum of what the numbers of a question are given.

    x_t = sum of the rows of the tokens of the document up to t
    h_1 = f(W_1 x_t),  h_i = f(W_i h_(i-1)),  logits_t = W_out h_n,      f the square, or max(0, .), entry by entry

A row is learned, one for each number, or one-hot, and then another one at the second place: the input of a network on
two one-hot vectors side by side. A question is a pair of numbers: behind the first one nothing is answered, and the
logits are zero, a uniform guess. With one layer, the square and learned rows it is the network in which grokking of
modular arithmetic has a solution in closed form (Gromov, arXiv 2301.02679, Eq. 1), with one embedding for both numbers:
a square of waves of a and b holds the waves of a + b. There are no biases and no norms.

W_1 is linear, so what is summed is W_1 times a row, and there are fewer rows than questions. State is a value: the sum
goes in with the tokens and comes out, so any split into calls gives the same.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from atlas_ref.blocks.timeline import Marks, marks_of
from atlas_ref.config.perceptron import PerceptronConfig
from atlas_ref.functional.embedding import embed
from atlas_ref.functional.looking import may_look
from atlas_ref.memory.plan import token_positions
from atlas_ref.memory.state import StateTree
from atlas_ref.models.family import Measurements, Model, Telemetry

PAIR = 2
"""Tokens of a question."""


@dataclass(frozen=True)
class PerceptronState(StateTree):
    """Tokens of each row's document so far, and the sum of W_1 times their rows."""

    position: Int[Tensor, " batch"]
    total: Float[Tensor, "batch hidden"]


class PerceptronOutput(NamedTuple):
    """What a call returns (`family.Output`); no layer has anything to tell, and there are no gates."""

    logits: Float[Tensor, "batch time vocab"]
    state: PerceptronState
    telemetry: tuple[Telemetry, ...] = ()
    indecision: None = None


class PerceptronModel(Model):
    """A network of the family; the same seed gives the same parameters.

    Learned rows are drawn from N(0, 1), each matrix uniformly within 1 / sqrt(width of what it multiplies).
    """

    config: PerceptronConfig

    def __init__(self, config: PerceptronConfig, seed: int) -> None:
        super().__init__()
        self.config = config
        if config.d_model:
            self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        widths = (config.d_model or PAIR * config.vocab_size, *config.hidden)
        self.hidden = nn.ModuleList(
            nn.Linear(before, width, bias=False) for before, width in zip(widths, config.hidden, strict=False)
        )
        self.head = nn.Linear(config.hidden[-1], config.vocab_size, bias=False)
        self._initialise(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Embedding):
                layer.weight.normal_(generator=generator)
            if isinstance(layer, nn.Linear):
                bound = 1.0 / math.sqrt(layer.in_features)
                layer.weight.uniform_(-bound, bound, generator=generator)

    def initial_state(self, batch: int) -> PerceptronState:
        """Return the state of `batch` rows before their first token: sums of nothing."""
        weight = self.head.weight
        none = torch.zeros(batch, dtype=torch.long, device=weight.device)
        return PerceptronState(none, weight.new_zeros(batch, self.config.hidden[0]))

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        state: PerceptronState,
        reset: Bool[Tensor, "batch time"] | Marks | None,
        outer_step: int | None = None,
        penalised: bool = False,
        measured: bool = True,
    ) -> PerceptronOutput:
        """Return logits and state; nothing here depends on `outer_step`, and there is nothing to penalise or tell."""
        del outer_step, penalised, measured
        batch, time = tokens.shape
        begins = marks_of(reset).memory
        position, total = token_positions(state.position, begins, time), state.total
        rows, answers = self.rows(tokens, position), []
        for index in range(time):
            total = _continued(total, rows(index), None if begins is None else begins[:, index])
            answers.append(self.answer(total, position[:, index] >= PAIR - 1))
        # One place behind the other in memory, since the last one is looked at alone.
        logits = torch.stack(answers).transpose(0, 1) if answers else total.new_zeros(batch, 0, self.config.vocab_size)
        return PerceptronOutput(logits, PerceptronState(position[:, -1] + 1 if time else state.position, total))

    def rows(self, tokens: Tensor, position: Tensor) -> "Rows":
        """Return what each token adds to the sum, W_1 times its row."""
        first = self.hidden[0].get_parameter("weight")
        if self.config.d_model:
            return Rows(tokens, F.linear(self.embedding.weight, first))
        place = position.clamp(max=PAIR - 1)
        return Rows(tokens + self.config.vocab_size * place, first.mT)

    def answer(
        self, total: Float[Tensor, "batch hidden"], asked: Bool[Tensor, " batch"]
    ) -> Float[Tensor, "batch vocab"]:
        """Return the logits of sums where they are `asked` for, and zero elsewhere: without biases that is of zero."""
        if may_look() and not bool(asked.any()):
            return total.new_zeros(len(total), self.config.vocab_size)
        x = self.activated(_select(asked, total))
        for layer in list(self.hidden)[1:]:
            x = self.activated(layer(x))
        logits: Tensor = self.head(x)
        return logits

    def activated(self, x: Float[Tensor, "batch hidden"]) -> Float[Tensor, "batch hidden"]:
        """Return f(x)."""
        squared: Callable[[Tensor], Tensor] = _Squared.apply
        return squared(x) if self.config.activation == "square" else x.relu()

    def parts(self) -> list[nn.Module]:
        """Return the layers."""
        return [*self.hidden, self.head]


class _Squared(torch.autograd.Function):
    """x^2, with its derivative 2 x dy in two passes; that of torch takes three, with the same bits."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        slope: Tensor = grads[0] * x
        return slope.mul_(2.0)


@dataclass(frozen=True)
class Rows:
    """Rows of a table that the tokens of a call look up, a place at a time.

    One look-up a place: the gradient of a table that is looked up once is not cut into places first.
    """

    index: Int[Tensor, "batch time"]
    table: Float[Tensor, "rows hidden"]

    def __call__(self, time: int) -> Float[Tensor, "batch hidden"]:
        """Return the rows of the tokens at a place."""
        return embed(self.table, self.index[:, time])


def _continued(
    total: Float[Tensor, "batch hidden"], row: Float[Tensor, "batch hidden"], begins: Bool[Tensor, " batch"] | None
) -> Float[Tensor, "batch hidden"]:
    """Return sums with a row more; where a document begins it is all there is."""
    if begins is None:
        return total + row
    return row if _all(begins) else _select(~begins, total) + row


def _select(kept: Bool[Tensor, " batch"], x: Float[Tensor, "batch hidden"]) -> Float[Tensor, "batch hidden"]:
    """Return the rows that are kept, and zero for the others; all of them as they are, which costs nothing."""
    return x if _all(kept) else torch.where(kept.unsqueeze(-1), x, 0.0)


def _all(rows: Bool[Tensor, " batch"]) -> bool:
    """Return whether it is every row, as far as one may look."""
    return may_look() and bool(rows.all())


def numbers(parameters: Mapping[str, Tensor], config: PerceptronConfig) -> Float[Tensor, "vocab dim"]:
    """Return the row of each token; of one-hot numbers what W_1 has for it at the first place, then at the second."""
    if config.d_model:
        return parameters["embedding.weight"]
    return torch.cat(parameters["hidden.0.weight"].mT.chunk(PAIR), 1)


def measure_call(output: PerceptronOutput, config: PerceptronConfig) -> tuple[Measurements, ...]:
    """Return no table: what there is to watch is how the model answers (`watching.grokking`)."""
    del output, config
    return ()
