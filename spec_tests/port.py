"""The contract between the specification and an implementation under test: two pure methods on numpy arrays.

An implementation (a *port*, in whatever framework) says what it supports with `declare` and runs one named operation
with `run`. The operations, their inputs, outputs and configuration keys stand in `spec_tests.contract.operations`; the
meaning of each is in docs/spec. Nothing else of the suite is needed to write a port.

Gradients: an input named `cotangent.X` asks for the derivative of sum(cotangent.X * X) over the outputs X so named; the
port then also returns `grad.Y` for every floating-point input Y of the operation. Only ports that declare the
capability `gradients` are asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Scalar = bool | int | float | str

SPEC_VERSION: Final = "0.1"
GRADIENTS: Final = "gradients"
"""The capability of returning derivatives of every declared operation but those of level 4."""
BLOCK_GRADIENTS: Final = "block_gradients"
"""The capability of returning derivatives of the operations of level 4 (a state that was in a file has none)."""


class Numerics(StrEnum):
    """The precision profile of a run.

    `f64` and `f32`: every floating-point array has that type. `bf16_io`: activations come as float32 arrays whose
    values are bfloat16 numbers and go back likewise; parameters and state stay float32. These three are `PROFILES`.

    `bf16_inside` and `tf32` are what hardware multiplies matrices in: arrays are float32, and an iteration of products
    is in bfloat16, or the factors of each product have ten bits after the point. Only operations that are such an
    iteration have cases in them, and a run asks them where it names them.
    """

    F64 = "f64"
    F32 = "f32"
    BF16_IO = "bf16_io"
    BF16_INSIDE = "bf16_inside"
    TF32 = "tf32"

    @property
    def dtype(self) -> type[np.floating[Any]]:
        """The numpy type in which floating-point arrays travel."""
        return np.float64 if self is Numerics.F64 else np.float32


PROFILES: Final = (Numerics.F64, Numerics.F32, Numerics.BF16_IO)
"""The profiles that every operation is asked in."""


class Op(StrEnum):
    """Every operation the specification knows: a closed list whose names are stable."""

    NEWTON_SCHULZ = "newton_schulz"
    POLYNOMIAL_FEATURES = "polynomial_features"
    L2_NORMALIZE = "l2_normalize"
    SHORT_CONV = "short_conv"
    QK_PROJECTION = "qk_projection"
    QK_GATE = "qk_gate"
    SLIDING_WINDOW_ATTENTION = "sliding_window_attention"
    STABLEMAX = "stablemax"
    STABLEMAX_LOSS = "stablemax_loss"
    M3_MIX = "m3_mix"
    LTM_SCAN = "ltm_scan"
    MAG_GATE = "mag_gate"
    ACT_HALT = "act_halt"
    HALT_LOSS = "halt_loss"
    TRM_RECURSION = "trm_recursion"
    SUPERVISED_LOSS = "supervised_loss"
    FOURIER_CONCENTRATION = "fourier_concentration"
    CIRCULAR_FIT = "circular_fit"
    CONCENTRATION_NULL = "concentration_null"
    GROKKING_PHASES = "grokking_phases"
    SLOT_MEMORY = "slot_memory"
    EPISODE_ROWS = "episode_rows"
    EPISODE_LOSS = "episode_loss"
    GATE_FLOOR = "gate_floor"
    RETRIEVAL_GAIN = "retrieval_gain"
    MEMORY_TELEMETRY = "memory_telemetry"
    MEMORY_STEP = "memory_step"
    MEMORY_SCAN = "memory_scan"
    MEMORY_CHUNKED = "memory_chunked"
    MIRAS_SCAN = "miras_scan"
    MIRAS_CHUNKED = "miras_chunked"
    RIDGE_SCAN = "ridge_scan"
    MEMORY_SCHEDULE = "memory_schedule"
    MEMORY_HIERARCHICAL = "memory_hierarchical"
    MAG_BLOCK = "mag_block"
    MAG_BLOCK_MARKS = "mag_block_marks"
    MAC_BLOCK = "mac_block"
    MAL_BLOCK = "mal_block"
    LMM_BLOCK = "lmm_block"
    LM_FORWARD = "lm_forward"
    CHECKPOINT_ROUND_TRIP = "checkpoint_round_trip"
    MEMORY_GRAD = "memory_grad"
    OPTIMIZER_STEP = "optimizer_step"
    MUON_STEP = "muon_step"
    GROKFAST = "grokfast"
    PERP_GRAD = "perp_grad"
    QK_CLIP = "qk_clip"
    QK_CLIP_IN_SIGHT = "qk_clip_in_sight"
    MUGROKFAST_STEP = "mugrokfast_step"
    TRAIN_STEPS = "train_steps"
    MEMORY_CACHE = "memory_cache"


class Feature(StrEnum):
    """What an input can have that not every port takes; a closed list.

    Each is read off a question, its configuration and inputs, by `spec_tests.contract.features`, where its meaning is.
    """

    RETENTION = "retention"
    VARYING_RETENTION = "varying-retention"
    MOMENTUM = "momentum"
    VARYING_MOMENTUM = "varying-momentum"
    VARYING_STEP = "varying-step"
    WINDOW_WEIGHTS = "window-weights"
    GATE_ENDS = "gate-ends"
    RESETS = "resets"
    STATE = "state"
    PHASES = "phases"
    MID_CHUNK = "mid-chunk"
    KEY_LENGTHS = "key-lengths"
    D_V = "d_v"
    RECTANGLES = "rectangles"
    ZERO = "zero"
    RANGE = "range"
    EMPTY = "empty"


def round_to_bf16(x: Array) -> Array:
    """Round to the nearest bfloat16, ties to even, and return it as float32."""
    bits = np.asarray(x, dtype=np.float32).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return rounded.astype(np.uint32).view(np.float32)


class UnsupportedError(Exception):
    """Raised by `run` for a case the port does not do; for a declared operation that is a failure."""

    def __init__(self, reason: str, *, capability: str) -> None:
        super().__init__(reason)
        self.capability = capability


@dataclass(frozen=True)
class Declaration:
    """What a port says about itself before any case runs.

    `only` restricts keys of the configuration to some of their values, `longest` axes to a length: a port that has the
    rule `titans` with a window of one token declares only = {"rule": {"titans"}} and longest = {"window": 1}, and is
    asked nothing else. `without` names features of inputs that it does not take: {"resets", "retention"} is a memory
    of one document that forgets nothing.

    ValueError for a name in `without` that is no feature.
    """

    name: str
    version: str
    language: str
    spec_version: str
    operations: frozenset[Op]
    capabilities: frozenset[str]
    numerics: tuple[Numerics, ...]
    matmul_precision: str
    only: Mapping[str, frozenset[str]] = field(default_factory=dict)
    longest: Mapping[str, int] = field(default_factory=dict)
    without: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse a feature that the suite does not know: nothing would be left out for its sake."""
        unknown = sorted(set(self.without) - set(Feature))
        if unknown:
            raise ValueError(f"without: no feature is called '{unknown[0]}'; valid: {', '.join(Feature)}.")


class Run(Protocol):
    """The call that runs one operation; it changes none of its arguments and keeps nothing between calls."""

    def __call__(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        """Return the outputs of `op`, and any intermediate values named in `taps` that the port can show."""
        ...


class Port(Protocol):
    """An implementation under test."""

    def declare(self) -> Declaration:
        """Say what this port is and supports; the same answer every time."""
        ...

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        """Run one operation (see `Run`); raise `UnsupportedError` for what this port does not do."""
        ...
