"""How many operations a model needs for a token: the products of its definition, a multiplication and addition being 2.

    weights       2 times the entries of every matrix and filter that a token passes through, the tied head among them
    attention     4 d (w + p): scores and mixture of a window of w tokens and p persistent ones, at width d; none in
                  LMM; in MAC the mean of what a token sees of its segment, and the row that it asks for
    memory        of each head, for weight matrices of together S entries, once for the error of a write, once for the
                  write, once for the read:  3 * 2 S;  an MLP takes its error back through W1:  + 2 * out * hidden;
                  the bias `dot` has no error:  2 * 2 S
    ridge         of each head, with D features: k k^T and v k^T, a Cholesky factor and two triangular solves of it:
                  2 D^2 + 2 d_v D + D^3 / 3 + 2 D^2, and the read 2 d_v D
    Newton-Schulz of an m x n matrix, m <= n: 4 m^2 n an iteration, and 2 m^3 where it has a quintic term
    Q-K projection 4 d_k^2 of each head: Pi + k k^T and Pi q
    hierarchy     all of these once for each memory, the projection for each local one

That is the work that the equations ask for, not what an implementation does: the recurrence, token by token, whatever
the chunk. Left out is what is no product (norms, gates, softmax, features, decays), the projection of persistent
tokens, which is one of a call, masked attention beyond the window, window losses beyond the present token, what the
backward pass computes again, the optimiser, and validation. A training step counts three times its forward pass, as
usual (PaLM, 2204.02311, appendix B): the backward pass has two products for each one, through the writes too, also
where `inner_grad = "detached"` spares some.
"""

from math import prod

from atlas_ref.config.model import ModelConfig
from atlas_ref.models.tensors import tensors

BACKWARD = 3
"""A training step in forward passes."""


def training_flops(config: ModelConfig) -> int:
    """Return the operations of a training step for each token of its batch."""
    return BACKWARD * forward_flops(config)


def forward_flops(config: ModelConfig) -> int:
    """Return the operations of a forward pass for each token (module docstring)."""
    memory = config.n_heads * head_flops(config)
    return weight_flops(config) + config.n_layers * (attention_flops(config) + memory)


def attention_flops(config: ModelConfig) -> int:
    """Return the operations of the scores and mixtures of one layer for a token."""
    if config.block == "lmm":
        return 0
    if config.block != "mac":
        return 4 * config.d_model * (config.attention.window + config.attention.persistent_tokens)
    segment, mac = config.mac.segment, config.mac
    own = (segment + 1) // 2
    rows = {"causal": own, "previous_segment": segment, "learned": mac.learned_rows}[mac.rows]
    return 4 * config.d_model * (own + rows + config.attention.persistent_tokens) + _row_flops(config)


def _row_flops(config: ModelConfig) -> int:
    """Return the operations of reading a row of MAC and making its key and value; learned rows are few of a segment."""
    if config.mac.rows == "learned":
        return 0
    read = 2 * config.n_heads * sum(prod(shape) for shape in config.memory.matrices())
    return read + 4 * config.d_model**2


def weight_flops(config: ModelConfig) -> int:
    """Return the operations of the matrices and filters that every token passes through."""
    passed = (info for info in tensors(config) if len(info.shape) == 2)
    return sum(2 * prod(info.shape) for info in passed if info.name.endswith((".weight", ".convolution")))


def head_flops(config: ModelConfig) -> int:
    """Return the operations of the memories of one head for a token."""
    memory, matrices = config.memory, config.memory.matrices()
    if memory.algorithm == "ridge":
        return _ridge_flops(config)
    count = memory.count()
    read = 2 * sum(prod(shape) for shape in matrices)
    if config.disable_memory:
        return count * read
    back = 2 * prod(matrices[0]) if len(matrices) > 1 else 0
    projected = 4 * memory.key_dim**2 if memory.qk_projection.kind != "none" else 0
    projected *= count - 1 if memory.kind == "hierarchical" else 1
    # A write that sees no error multiplies by the memory only to read.
    products = 2 if memory.bias.kind == "dot" else 3
    return count * (products * read + back + _newton_schulz(config)) + projected


def _ridge_flops(config: ModelConfig) -> int:
    """Return the operations of one head that solves for its memory at every token."""
    if config.disable_memory:
        return 0
    features, values = config.memory.features.width(config.memory.key_dim), config.memory.value_dim
    return 4 * features**2 + 4 * values * features + features**3 // 3


def _newton_schulz(config: ModelConfig) -> int:
    settings = config.memory.newton_schulz
    if config.memory.rule not in ("atlas", "atlas_appendix"):
        return 0
    cubed = 0 if settings.coefficients == "cubic" else 2
    sides = [sorted(shape) for shape in config.memory.matrices()]
    return settings.steps * sum(4 * m * m * n + cubed * m**3 for m, n in sides)
