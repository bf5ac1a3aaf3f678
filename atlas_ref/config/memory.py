"""The memory of each layer: its four axes, what else decides a write and a read, and which combinations mean nothing.

The axes are those of MIRAS (2504.13173): the architecture, the attentional bias (`bias`), the retention (`gates`,
`gate_axis`, `retention` and `link`) and the algorithm (`rule`, `algorithm`, `error_at`). `docs/models.md` is the table
of the published models that they make.
"""

from collections.abc import Iterator
from math import comb
from typing import Literal

from pydantic import Field

from atlas_ref.config.axes import THRESHOLDED, BiasConfig, LinkConfig
from atlas_ref.config.combinations import meaningless
from atlas_ref.config.gates import GatesConfig
from atlas_ref.config.hierarchy import HierarchyConfig
from atlas_ref.config.section import Section

MAX_FEATURES = 16_384
"""Largest width of a feature map: the memory holds value_dim times this many numbers a head and row."""


LEAST_RIDGE = 0.25
"""Lower bound of the regulariser of `ridge`, as in the released model of MesaNet (2506.05233)."""


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
    span: Literal["shard", "chunk", "document"]
    """keys that it sums: of the shard, the chunk or the document"""


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

    kind: Literal["single", "hierarchical"]
    """single, or hierarchical: a global memory read at the start of its chunk, and local ones that begin with shards"""
    architecture: Literal["matrix", "mlp", "linear_norm", "mlp_norm", "mlp_glu"]
    """what is written: a matrix, a residual two-layer network, either of them normalised, or a gated network"""
    rule: Literal["titans", "atlas", "atlas_appendix", "omega", "delta"]
    """how a write changes it"""
    algorithm: Literal["gd", "implicit", "ridge"]
    """gd: gradient steps; implicit: a write minimises its loss near the old memory; ridge: least squares of all"""
    error_at: Literal["previous", "retained"]
    """whether a write sees the error of the memory before or after it has forgotten"""
    retention: Literal["dual", "proximal_elastic"]
    """dual: what is linked is kept unshrunk; proximal_elastic: shrinkage stays in the memory, token by token"""
    gate_axis: Literal["head", "rows", "columns"]
    """what has a retention gate of its own: a head, a row of its matrix (value) or a column (feature)"""
    chunk: int = Field(ge=1, le=65_536)
    """tokens whose gradients are taken at the same state"""
    omega_window: int = Field(ge=1, le=4096)
    """tokens in the Omega loss; 1 is the online rule"""
    window_boundary: Literal["carry", "truncate"]
    """whether the Omega window reaches over a chunk border"""
    read: Literal["post", "pre", "anchor"]
    """whether a token reads after or before its own write, or at the start of its chunk"""
    loss_scale: Literal["half", "one"]
    """factor of the squared error"""
    step_scale: Literal["literal", "mass"]
    """the rule as printed, or with steps divided by the mass of window, momentum and chunk"""
    step_chunk: int = Field(ge=0, le=65_536)
    """tokens of a chunk in that division, for a memory that is served in others than it was trained in; 0: chunk"""
    key_dim: int = Field(ge=1, le=4096)
    """key and query components a head, before the feature map"""
    value_dim: int = Field(ge=1, le=4096)
    """value components a head"""
    expansion: int = Field(ge=1, le=64)
    """hidden width of the mlp memory, in multiples of value_dim"""
    conv_kernel: int = Field(ge=1, le=64)
    """length of the causal convolution on queries, keys and values; 1 is none"""
    initial_std: float = Field(ge=0.0, le=1.0)
    """spread of the learned initial memory; ridge has none"""
    ridge_init: float = Field(gt=LEAST_RIDGE, le=1e4)
    """at the start, what ridge adds to each feature's second moment; learned, and above 0.25"""
    ttl_warmup_steps: int = Field(ge=0, le=10**9)
    """optimiser steps during which the memory is read and not written"""
    ttl_update_frequency: int = Field(ge=1, le=65_536)
    """tokens whose window losses are gathered for one write; counted from the start of the document"""
    bias: BiasConfig
    link: LinkConfig
    features: FeaturesConfig
    newton_schulz: NewtonSchulzConfig
    qk_projection: QKProjectionConfig
    gates: GatesConfig
    shards: ShardsConfig
    hierarchy: HierarchyConfig

    def _cut_windows(self) -> Iterator[str]:
        """Yield a sentence for each local memory whose losses would wait beyond the chunk that they end with."""
        every = self.ttl_update_frequency
        for chunk in self.hierarchy.local_chunks:
            if self.window_boundary == "truncate" and chunk % every:
                yield (
                    f"model.memory.ttl_update_frequency is {every}; it must divide every chunk, and "
                    f'model.memory.hierarchy.local_chunks has {chunk}, for model.memory.window_boundary = "truncate"'
                )

    def chunks(self) -> dict[str, int]:
        """Return the chunk of every memory, by the name of its field below `model.memory`."""
        local = self.hierarchy.local_chunks if self.kind == "hierarchical" else ()
        return {"chunk": self.chunk} | {f"hierarchy.local_chunks[{n}]": chunk for n, chunk in enumerate(local)}

    def stage_chunks(self) -> tuple[int, ...]:
        """Return the chunks that a second stage makes finer: that of a single memory, or those of the local ones."""
        return self.hierarchy.local_chunks if self.kind == "hierarchical" else (self.chunk,)

    def in_chunks(self, chunks: tuple[int, ...]) -> "MemoryConfig":
        """Return the memory in other chunks, one for each of `stage_chunks`, whose steps stay those of these."""
        if self.kind == "single":
            return self.model_copy(update={"chunk": chunks[0], "step_chunk": self.step_chunk or self.chunk})
        local = self.hierarchy
        steps = local.local_step_chunks or local.local_chunks
        changed = local.model_copy(update={"local_chunks": chunks, "local_step_chunks": steps})
        return self.model_copy(update={"hierarchy": changed})

    def count(self) -> int:
        """Return the number of memories."""
        return len(self.chunks())

    def warnings(self) -> Iterator[str]:
        """Yield a sentence for what is allowed and hardly meant."""
        if self.kind != "hierarchical" or not self.hierarchy.global_writes:
            return
        for shard in self.hierarchy.local_shards:
            if 0 < shard < self.chunk:
                yield (
                    f"model.memory.hierarchy.local_shards has {shard}, less than model.memory.chunk, which is "
                    f"{self.chunk}: what a local memory forgot is not in the global memory before its chunk ends"
                )

    def generated_gates(self) -> dict[str, int]:
        """Return what the one projection of the gates makes, in its order, and how many numbers a head of each."""
        gates = self.gates
        rows = {
            "retention": gates.retention_kind == "learned" and self.gate_axis == "head",
            "momentum": gates.momentum_kind == "learned",
            "step": gates.step_kind == "learned",
            "window": self.omega_window if gates.window_kind == "learned" else 0,
            "threshold": self.bias.kind in THRESHOLDED,
        }
        return {name: int(count) for name, count in rows.items() if count}

    def matrices(self) -> tuple[tuple[int, int], ...]:
        """Return (out, in) of each matrix of one head that is learned as M_0; `ridge` starts from nothing."""
        features, hidden = self.features.width(self.key_dim), self.expansion * self.value_dim
        if self.algorithm == "ridge":
            return ()
        if self.architecture in ("matrix", "linear_norm"):
            return ((self.value_dim, features),)
        inner = (hidden, features)
        return ((self.value_dim, hidden), *(inner,) * (2 if self.architecture == "mlp_glu" else 1))

    def problems(self) -> Iterator[str]:
        """Yield a sentence for axes that exclude each other, a feature map that is too wide, and broken chunks."""
        yield from meaningless(self)
        if self.shards.length % self.chunk:
            yield (
                f"model.memory.shards.length is {self.shards.length}; it must be a multiple of model.memory.chunk, "
                f"which is {self.chunk}, or 0 for no shards"
            )
        if self.kind == "hierarchical":
            yield from self.hierarchy.local_problems("model.memory.hierarchy")
            yield from self._cut_windows()
        width = self.features.width(self.key_dim)
        if width > MAX_FEATURES:
            yield (
                f"model.memory.features.degree is {self.features.degree}; with model.memory.key_dim = {self.key_dim} "
                f"it makes {width} features, and at most {MAX_FEATURES} are allowed"
            )
