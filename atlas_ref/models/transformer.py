"""The family `transformer`: a residual stream with attention and a feed-forward, without norms and biases.

    x = E[token] + P[place in the document],   then in each layer:
    x <- x + W_o softmax(q k^T / sqrt(dim), over the document up to here) v,     q, k, v = W_qkv x, by heads
    x <- x + W_down max(0, W_up x),            and at last  logits = W_out x

The network in which Nanda et al. (arXiv 2301.05217) took grokking of modular addition apart; theirs has biases in the
feed-forward. State is a value: the tokens of the document so far, which are read again, so that any split into calls
gives the same. No document is longer than the places that are learned.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from atlas_ref.blocks.timeline import Marks, marks_of
from atlas_ref.config.transformer import TransformerConfig
from atlas_ref.errors import UserError
from atlas_ref.functional.embedding import embed
from atlas_ref.functional.looking import may_look
from atlas_ref.memory.plan import token_positions
from atlas_ref.memory.state import StateTree
from atlas_ref.models.family import Measurements, Model, Telemetry


@dataclass(frozen=True)
class TransformerState(StateTree):
    """Tokens of each row's document so far: how many, and which; those before a document began are any."""

    position: Int[Tensor, " batch"]
    tokens: Int[Tensor, "batch past"]


class TransformerOutput(NamedTuple):
    """What a call returns (`family.Output`); no layer has anything to tell, and there are no gates."""

    logits: Float[Tensor, "batch time vocab"]
    state: TransformerState
    telemetry: tuple[Telemetry, ...] = ()
    indecision: None = None


class Layer(nn.Module):
    """Attention and a feed-forward, each added to what it reads."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        d, self.heads = config.d_model, config.n_heads
        self.projection = nn.Linear(d, 3 * d, bias=False)
        self.output = nn.Linear(d, d, bias=False)
        self.up = nn.Linear(d, config.feed_forward_dim, bias=False)
        self.down = nn.Linear(config.feed_forward_dim, d, bias=False)

    def forward(
        self, x: Float[Tensor, "batch time model"], sight: Bool[Tensor, "batch time time"]
    ) -> Float[Tensor, "batch time model"]:
        """Return the stream behind the layer; `sight` says which token sees which."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.projection(x).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=sight.unsqueeze(1))
        x = x + self.output(mixed.transpose(1, 2).flatten(2))
        behind: Tensor = x + self.down(self.up(x).relu())
        return behind


class TransformerModel(Model):
    """A network of the family; the same seed gives the same parameters.

    Every tensor is drawn from N(0, 1 / d_model), the head from N(0, 1 / tokens), as Nanda et al. have it.
    """

    config: TransformerConfig

    def __init__(self, config: TransformerConfig, seed: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.position = nn.Embedding(config.positions, config.d_model)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self._initialise(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        for name, parameter in self.named_parameters():
            width = self.config.vocab_size if name == "head.weight" else self.config.d_model
            parameter.normal_(0.0, 1.0 / math.sqrt(width), generator=generator)

    def initial_state(self, batch: int) -> TransformerState:
        """Return the state of `batch` rows before their first token: no tokens."""
        none = torch.zeros(batch, self.config.positions, dtype=torch.long, device=self.head.weight.device)
        return TransformerState(none[:, 0], none[:, 1:])

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        state: TransformerState,
        reset: Bool[Tensor, "batch time"] | Marks | None,
        outer_step: int | None = None,
        penalised: bool = False,
        measured: bool = True,
    ) -> TransformerOutput:
        """Return logits and state; nothing here depends on `outer_step`, and there is nothing to penalise or tell.

        Raises UserError for a document that is longer than the learned positions.
        """
        del outer_step, penalised, measured
        time, past = tokens.shape[1], state.tokens.shape[1]
        place = token_positions(state.position, marks_of(reset).context, time)
        known = torch.cat([state.tokens, tokens], 1)
        after = TransformerState(place[:, -1] + 1 if time else state.position, known[:, time:])
        if place.numel() and may_look() and int(place.max()) >= self.config.positions:
            raise UserError(
                f"a document has more than {self.config.positions:,} tokens, and model.positions is no more; give "
                "fewer, or train with more positions."
            )
        if time and may_look() and bool((place[:, 0] == 0).all()):
            known, past = tokens, 0
        before = state.position.unsqueeze(-1) + torch.arange(-past, 0, device=tokens.device)
        logits = self.logits(known, torch.cat([before, place], 1))[:, past:]
        return TransformerOutput(logits, after)

    def room(self, state: TransformerState) -> int:
        """Return how many tokens the row that has read most may still read."""
        return self.config.positions - int(state.position.max())

    def logits(
        self, tokens: Int[Tensor, "batch time"], place: Int[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time vocab"]:
        """Return the logits behind each token; a place below zero is that of a token of no document."""
        index = torch.arange(tokens.shape[1], device=tokens.device)
        began = index - place
        same = (began.unsqueeze(-1) == began.unsqueeze(-2)) & (place >= 0).unsqueeze(-2)
        # Whoever sees nobody sees itself: a softmax of nothing has no value, and nobody sees that one.
        sight = (same & (index.unsqueeze(-1) >= index)) | (index.unsqueeze(-1) == index)
        x = embed(self.embedding.weight, tokens) + embed(self.position.weight, place.clamp(min=0))
        x = torch.where((place >= 0).unsqueeze(-1), x, 0.0)
        for layer in self.layers:
            x = layer(x, sight)
        logits: Tensor = self.head(x)
        return logits

    def parts(self) -> list[nn.Module]:
        """Return the layers and the head."""
        return [*self.layers, self.head]


def measure_call(output: TransformerOutput, config: TransformerConfig) -> tuple[Measurements, ...]:
    """Return no table: what there is to watch is how the model answers (`watching.grokking`)."""
    del output, config
    return ()
