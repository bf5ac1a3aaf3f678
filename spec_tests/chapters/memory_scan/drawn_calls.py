"""What hypothesis draws for the memory over a sequence: a configuration, a window and a call."""

from dataclasses import dataclass
from typing import Final

from hypothesis import assume
from hypothesis import strategies as st

from spec_tests.chapters.memory_step.calls import ARCHITECTURES, ORTHOGONALISED, RULES, amplification, case, rule
from spec_tests.drawing.strategies import Draw, Sequence, sequences
from spec_tests.port import Array, Scalar

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

    @property
    def config(self) -> dict[str, Scalar]:
        """The configuration as it is sent to a port."""
        named = ("chunk", "boundary", "read", "loss_scale", "step_scale")
        return rule(self.name, self.architecture, **{key: getattr(self, key) for key in named})

    def inputs(self, seed: int = 0) -> dict[str, Array]:
        """Return the inputs: rows out of phase, documents of 1 to 2 `document` tokens; another seed, other content."""
        size = self.sequence
        return case(
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
    shortest: int = 0,
    longest: int = 9,
    fewest: int = 1,
    windows: tuple[int, ...] = (1, 2, 4),
    chunks: tuple[int, ...] = (1, 3, 4, 16),
) -> MemoryCall:
    """Draw any rule with any memory; where rounding alone would move the loop's own answer, draw again."""
    call = MemoryCall(
        name=draw(st.sampled_from(RULES)),
        architecture=draw(st.sampled_from(ARCHITECTURES)),
        chunk=draw(st.sampled_from(chunks)),
        window=draw(st.sampled_from(windows)),
        boundary=draw(st.sampled_from(("carry", "truncate"))),
        read=draw(st.sampled_from(("post", "pre"))),
        loss_scale=draw(st.sampled_from((0.5, 1.0))),
        step_scale=draw(st.sampled_from(("literal", "mass"))),
        document=draw(st.sampled_from((3, 5))),
        sequence=draw(sequences(shortest, longest, fewest)),
    )
    if call.name in ORTHOGONALISED and call.sequence.time:
        assume(amplification(call.config, call.inputs()) < WELL_POSED)
    return call
