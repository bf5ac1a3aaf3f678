"""What is compared, by name: settings of titans-pytorch 0.5.5 and memories of this project, without importing either.

Every contender maps [batch, time, width] to the same shape through a norm, its projections, the memory and an output
projection, with heads of the same width and chunks of the same length. The two libraries do not compute the same
function: titans-pytorch reads a chunk with the weights of the chunk before it, and shares retention and momentum within
a chunk, where the memories here read each token's own state and have gates of each token.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["floor", "matrix", "mlp", "newton-schulz"]

WIDTH, HEADS, HEAD_WIDTH, CHUNK = 256, 4, 64, 64
BATCH, TIME = 2, 1024


@dataclass(frozen=True)
class Peer:
    """A setting of titans-pytorch's NeuralMemory."""

    kind: Kind
    residual_norm: bool = True
    batch_size: int | None = None


@dataclass(frozen=True)
class Ours:
    """A memory of this project: the tiny preset's memory with these fields changed."""

    kind: Kind
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Floor:
    """The projections that any such layer needs, without a memory: what no contender can be faster than."""

    kind: Kind = "floor"


# b128: weights are moved on every 128 tokens (`batch_size`); bare: memory without its residual and norm.
CONTENDERS: dict[str, Peer | Ours | Floor] = {
    "projections alone": Floor(),
    "titans-pytorch matrix": Peer("matrix"),
    "titans-pytorch matrix, b128": Peer("matrix", batch_size=128),
    "titans-pytorch matrix, bare": Peer("matrix", residual_norm=False),
    "titans-pytorch matrix, bare, b128": Peer("matrix", residual_norm=False, batch_size=128),
    "titans-pytorch mlp": Peer("mlp"),
    "titans-pytorch mlp, b128": Peer("mlp", batch_size=128),
    "titans-pytorch mlp, bare": Peer("mlp", residual_norm=False),
    "titans-pytorch newton-schulz per chunk": Peer("newton-schulz"),
    "titans c=1": Ours("matrix", ("rule=titans", "omega_window=1")),
    "omega c=1": Ours("matrix", ("rule=omega", "omega_window=1")),
    "omega c=8": Ours("matrix", ("rule=omega", "omega_window=8")),
    "omega c=1, mlp": Ours("mlp", ("rule=omega", "omega_window=1", "architecture=mlp")),
    "atlas c=1, one write a chunk": Ours(
        "newton-schulz", ("rule=atlas", "omega_window=1", f"ttl_update_frequency={CHUNK}")
    ),
    "atlas c=1, newton-schulz per token": Ours("newton-schulz", ("rule=atlas", "omega_window=1")),
}
