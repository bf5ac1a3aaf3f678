"""What hypothesis draws for the memory over a sequence: a configuration, a window and a call."""

from dataclasses import dataclass, field
from typing import Final

from hypothesis import assume
from hypothesis import strategies as st

from spec_tests.chapters.memory_step.calls import ARCHITECTURES, ORTHOGONALISED, RULES, amplification, rule
from spec_tests.chapters.memory_step.declared import declared_case
from spec_tests.contract.domain import within
from spec_tests.drawing.strategies import Draw, Sequence, sequences
from spec_tests.port import Array, Port, Scalar

WELL_POSED: Final = 30.0
"""How many ulps an ulp of the inputs may become (`amplification`): float32 keeps 3e-5, which is 250 ulps."""


@dataclass(frozen=True)
class MemoryCall:
    """A configuration of the memory, the window of its call, and the call."""

    name: str
    architecture: str
    chunk: int
    window: int
    boundary: str
    read: str
    loss_scale: float
    step_scale: str
    document: int
    sequence: Sequence
    port: Port = field(repr=False)

    @property
    def config(self) -> dict[str, Scalar]:
        """The configuration as it is sent to a port."""
        named = ("chunk", "boundary", "read", "loss_scale", "step_scale")
        return rule(self.name, self.architecture, **{key: getattr(self, key) for key in named})

    def inputs(self, seed: int = 0) -> dict[str, Array]:
        """Return the inputs: rows out of phase, documents of 1 to 2 `document` tokens; another seed, other content."""
        size = self.sequence
        return declared_case(
            self.port,
            self.config,
            batch=size.batch,
            time=size.time,
            window=self.window,
            seed=size.seed + seed,
            document=self.document,
        )


@st.composite
def memory_calls(
    draw: Draw,
    port: Port,
    shortest: int = 0,
    longest: int = 9,
    fewest: int = 1,
    windows: tuple[int, ...] = (1, 2, 4),
    chunks: tuple[int, ...] = (1, 3, 4, 16),
) -> MemoryCall:
    """Draw any rule with any memory that a port declares; where rounding alone would move the loop, draw again."""
    axes = {
        "name": RULES,
        "architecture": ARCHITECTURES,
        "chunk": chunks,
        "window": windows,
        "boundary": ("carry", "truncate"),
        "read": ("post", "pre"),
        "loss_scale": (0.5, 1.0),
        "step_scale": ("literal", "mass"),
    }
    drawn = {name: draw(st.sampled_from(values)) for name, values in within(port.declare(), axes, name="rule").items()}
    call = MemoryCall(
        **drawn,
        document=draw(st.sampled_from((3, 5))),
        sequence=draw(sequences(shortest, longest, fewest)),
        port=port,
    )
    if call.name in ORTHOGONALISED and call.sequence.time:
        assume(amplification(call.config, call.inputs()) < WELL_POSED)
    return call
