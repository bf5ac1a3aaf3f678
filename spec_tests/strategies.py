"""What hypothesis draws: sizes, places and seeds, never arrays; each chapter makes its inputs from them.

A failing example is then one short line that can be asked again. Few examples in the profile `ci`, and always the same;
another profile draws more, in proportion to its own `max_examples`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeVar

from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from spec_tests.memory_cases import ARCHITECTURES, ORTHOGONALISED, RULES, amplification, case, rule
from spec_tests.port import Array, Scalar

Drawn = TypeVar("Drawn")
Draw = st.DrawFn

USUAL: Final = 100
"""The `max_examples` of a profile that draws what each test asks for."""
WELL_POSED: Final = 30.0
"""How many ulps an ulp of the inputs may become (`memory_cases`): float32 keeps 3e-5, which is 250 ulps."""

if settings.get_current_profile_name() == "default":
    # Outside pytest nobody has chosen a profile: draw what the gate draws.
    settings.register_profile("ci", derandomize=True, deadline=None)
    settings.load_profile("ci")

seeds = st.integers(0, 9999)


def hold(strategy: st.SearchStrategy[Drawn], check: Callable[[Drawn], None], examples: int = 12) -> None:
    """Assert that `check` holds for drawn cases, `examples` of them unless the profile asks for more.

    The gate stops at the first example that fails, because a port may be slow; a free profile makes it smaller.
    """
    profile = settings()
    count = max(1, examples * profile.max_examples // USUAL)
    gate = (Phase.explicit, Phase.reuse, Phase.generate)
    phases = gate if profile.derandomize else profile.phases

    @settings(max_examples=count, deadline=None, report_multiple_bugs=False, phases=phases)
    @given(strategy)
    def holds(drawn: Drawn) -> None:
        check(drawn)

    holds()


@dataclass(frozen=True)
class Sequence:
    """The size of a call over a sequence, where it is cut into calls, and the seed of its content."""

    batch: int
    time: int
    cuts: tuple[int, ...]
    seed: int

    @property
    def pieces(self) -> list[slice]:
        """The consecutive calls; some may have no token."""
        return [slice(a, b) for a, b in pairwise((0, *self.cuts, self.time))]


@st.composite
def sequences(draw: Draw, shortest: int = 0, longest: int = 12, fewest: int = 1) -> Sequence:
    """Draw a sequence of `fewest` to 3 rows, cut at up to three places, the same place twice and the ends included."""
    time = draw(st.integers(shortest, longest))
    cuts = draw(st.lists(st.integers(0, time), min_size=1, max_size=3))
    return Sequence(draw(st.integers(fewest, 3)), time, tuple(sorted(cuts)), draw(seeds))


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
