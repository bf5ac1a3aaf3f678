"""The model sections of the run configuration: blocks, memory and gates (`section` has the rules all sections obey)."""

from collections.abc import Iterator
from math import comb
from typing import Literal

from pydantic import Field

from atlas_ref.config.section import Section

MAX_FEATURES = 16_384
"""Largest width of a feature map: the memory holds value_dim times this many numbers a head and row."""


class AttentionConfig(Section):
    """Sliding-window attention with rotary positions and persistent tokens."""

    window: int = Field(ge=1, le=1_000_000)
    """tokens that a query sees, itself included"""
    persistent_tokens: int = Field(ge=0, le=4096)
    """learned key-value pairs that every query sees"""
    rope_base: float = Field(gt=1.0, le=1e9)
    """base of the rotary frequencies"""


class GateConfig(Section):
    """How attention and memory are joined."""

    kind: Literal["source", "convex"]
    """source: sigmoid(attention) * memory; convex: g * attention + (1 - g) * memory"""
    floor: float = Field(ge=0.0, lt=1.0)
    """smallest value of the gate, once it has come down: floor + (1 - floor) * sigmoid"""
    floor_start: float = Field(ge=0.0, lt=1.0)
    """the floor at the first step"""
    floor_decay_steps: int = Field(ge=0, le=10**9)
    """steps in which the floor comes down in a straight line from its start"""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for a floor that would rise."""
        if self.floor_decay_steps > 0 and self.floor_start < self.floor:
            yield (
                f"model.gate.floor_start is {self.floor_start}; it must be at least model.gate.floor, "
                f"which is {self.floor}"
            )


class FeaturesConfig(Section):
    """The polynomial map of keys and queries."""

    basis: Literal["monomial_weighted", "monomial", "kronecker", "elementwise"]
    """which products of key components make the features"""
    degree: int = Field(ge=1, le=4)
    """highest degree of the products; 1 is the key itself"""

    def width(self, key_dim: int) -> int:
        """Number of features of a key of `key_dim` components: all products of degree 1 to `degree`, or its powers."""
        if self.basis == "elementwise":
            return key_dim
        if self.basis == "kronecker":
            return sum(key_dim**power for power in range(1, self.degree + 1))
        return comb(key_dim + self.degree, self.degree) - 1


class NewtonSchulzConfig(Section):
    """The iteration of the rules `atlas` and `atlas_appendix`."""

    coefficients: Literal["quintic", "cubic", "polar_express"]
    """named set of polynomial coefficients"""
    steps: int = Field(ge=1, le=30)
    """iterations for each write"""


class QKProjectionConfig(Section):
    """Projection of queries on the span of the keys seen so far."""

    kind: Literal["none", "tnt", "frobenius_tanh"]
    """none, TNT Eq. 7, or the tanh-gated form of the source system"""
    gain: float = Field(gt=0.0, le=100.0)
    """initial gain of frobenius_tanh"""


class GatesConfig(Section):
    """Where the token-dependent gates of the memory start, and how far they may go."""

    retention_init: float = Field(gt=0.0, lt=1.0)
    """share of the memory kept at each token, at the start"""
    momentum_init: float = Field(gt=0.0, lt=1.0)
    """decay of the momentum, at the start"""
    momentum_max: float = Field(gt=0.0, lt=1.0)
    """upper bound of the momentum decay"""
    step_init: float = Field(gt=0.0, le=100.0)
    """inner step size, at the start"""
    step_max: float = Field(gt=0.0, le=100.0)
    """upper bound of the inner step size"""
    window_init: float = Field(gt=0.0, lt=1.0)
    """weight of each past token in the Omega window, at the start"""
    fast_heads: int = Field(ge=0, le=4096)
    """heads, the last ones, that start with a short memory and half the largest step"""
    fast_retention_init: float = Field(gt=0.0, lt=1.0)
    """share of the memory that the last fast head keeps at each token, at the start"""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each gate that starts on or outside its bound."""
        for name in ("momentum", "step"):
            start, bound = getattr(self, f"{name}_init"), getattr(self, f"{name}_max")
            if start >= bound:
                field = f"model.memory.gates.{name}"
                yield f"{field}_init is {start}; it must be less than {field}_max, which is {bound}"


class ShardsConfig(Section):
    """Stretches of a document after which the memory restarts and its momentum and projection are mixed (M3)."""

    length: int = Field(ge=0, le=10_000_000)
    """tokens of a shard, whole chunks; 0: a document is one shard"""
    warmup_crossings: int = Field(ge=0, le=10**9)
    """shard boundaries of a row during which the mixing rate goes from 0.1 to 0.5, before the learned one acts"""
    alpha_init: float = Field(gt=0.0, lt=1.0)
    """learned mixing rate at the start: share of momentum and projection that a shard inherits"""


class MemoryConfig(Section):
    """The test-time memory of each layer."""

    architecture: Literal["matrix", "mlp"]
    """what is written: a matrix, or a residual two-layer network"""
    rule: Literal["titans", "atlas", "atlas_appendix", "omega", "delta"]
    """how a write changes it"""
    chunk: int = Field(ge=1, le=65_536)
    """tokens whose gradients are taken at the same state"""
    omega_window: int = Field(ge=1, le=4096)
    """tokens in the Omega loss; 1 is the online rule"""
    window_boundary: Literal["carry", "truncate"]
    """whether the Omega window reaches over a chunk border"""
    read: Literal["post", "pre"]
    """whether a token reads after or before its own write"""
    loss_scale: Literal["half", "one"]
    """factor of the squared error"""
    step_scale: Literal["literal", "mass"]
    """the rule as printed, or with steps divided by the mass of window, momentum and chunk"""
    key_dim: int = Field(ge=1, le=4096)
    """key and query components a head, before the feature map"""
    value_dim: int = Field(ge=1, le=4096)
    """value components a head"""
    expansion: int = Field(ge=1, le=64)
    """hidden width of the mlp memory, in multiples of value_dim"""
    conv_kernel: int = Field(ge=1, le=64)
    """length of the causal convolution on queries, keys and values; 1 is none"""
    initial_std: float = Field(ge=0.0, le=1.0)
    """spread of the learned initial memory"""
    ttl_warmup_steps: int = Field(ge=0, le=10**9)
    """optimiser steps during which the memory is read and not written"""
    ttl_update_frequency: int = Field(ge=1, le=65_536)
    """tokens whose window losses are gathered for one write; counted from the start of the document"""
    features: FeaturesConfig
    newton_schulz: NewtonSchulzConfig
    qk_projection: QKProjectionConfig
    gates: GatesConfig
    shards: ShardsConfig

    def problems(self) -> Iterator[str]:
        """Yield a sentence for a rule that excludes its window, a feature map that is too wide, and broken chunks."""
        if self.shards.length % self.chunk:
            yield (
                f"model.memory.shards.length is {self.shards.length}; it must be a multiple of model.memory.chunk, "
                f"which is {self.chunk}, or 0 for no shards"
            )
        if self.rule == "delta" and self.omega_window != 1:
            yield (
                f"model.memory.omega_window is {self.omega_window}; "
                'it must be 1 for model.memory.rule = "delta", which writes one token at a time'
            )
        every = self.ttl_update_frequency
        if self.rule == "delta" and every != 1:
            yield (
                f"model.memory.ttl_update_frequency is {every}; "
                'it must be 1 for model.memory.rule = "delta", which writes one token at a time'
            )
        if self.window_boundary == "truncate" and self.chunk % every:
            yield (
                f"model.memory.ttl_update_frequency is {every}; it must divide model.memory.chunk, which is "
                f'{self.chunk}, for model.memory.window_boundary = "truncate"'
            )
        width = self.features.width(self.key_dim)
        if width > MAX_FEATURES:
            yield (
                f"model.memory.features.degree is {self.features.degree}; with model.memory.key_dim = {self.key_dim} "
                f"it makes {width} features, and at most {MAX_FEATURES} are allowed"
            )


class ModelConfig(Section):
    """The language model."""

    vocab_size: int = Field(ge=2, le=1_000_000)
    """number of tokens; data.tokenizer or data.recall decides it"""
    d_model: int = Field(ge=1, le=65_536)
    """width of the residual stream"""
    n_layers: int = Field(ge=1, le=1024)
    """number of blocks"""
    n_heads: int = Field(ge=1, le=1024)
    """heads of attention and of memory"""
    feed_forward: Literal["none", "swiglu"]
    """what follows the memory block in each layer"""
    feed_forward_dim: int = Field(ge=1, le=1_000_000)
    """hidden width of swiglu"""
    norm_eps: float = Field(gt=0.0, le=1e-2)
    """added to the mean square in RMS norms"""
    init_std: float = Field(gt=0.0, le=1.0)
    """spread of the initial weights"""
    disable_memory: bool
    """ablation: same parameters, but nothing is written: the initial memory is read for ever"""
    inner_grad: Literal["full", "detached"]
    """whether training sees through the writes"""
    attention: AttentionConfig
    gate: GateConfig
    memory: MemoryConfig

    @property
    def grid(self) -> int:
        """Tokens of which documents are best made whole multiples: a chunk of the memory."""
        return self.memory.chunk

    @property
    def reach(self) -> int:
        """Tokens back that all layers together can see without memory: windows and convolutions, stacked."""
        return self.n_layers * (self.attention.window + self.memory.conv_kernel - 1)

    def problems(self) -> Iterator[str]:
        """Yield a sentence for a width that does not split into rotary heads, or that the memory does not fill."""
        width = self.n_heads * self.memory.value_dim
        if width != self.d_model:
            yield (
                f"model.memory.value_dim is {self.memory.value_dim}; with model.n_heads = {self.n_heads} the memory is "
                f"{width} wide, and it must be as wide as attention to be gated with it: model.d_model = {self.d_model}"
            )
        fast = self.memory.gates.fast_heads
        if fast > self.n_heads:
            yield f"model.memory.gates.fast_heads is {fast}; it must be at most model.n_heads, which is {self.n_heads}"
        if self.d_model % (2 * self.n_heads) != 0:
            yield (
                f"model.d_model is {self.d_model}; it must be a multiple of twice model.n_heads, "
                f"which is {2 * self.n_heads}, because rotary positions turn pairs"
            )
