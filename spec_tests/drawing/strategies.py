"""What hypothesis draws: sizes, places and seeds, never arrays; each chapter makes its inputs from them.

A failing example is then one short line that can be asked again. Few examples in the profile `ci`, and always the same;
another profile draws more, in proportion to its own `max_examples`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeVar

from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

from spec_tests.drawing.inputs import run_seed
from spec_tests.tally import where_declared

Drawn = TypeVar("Drawn")
Draw = st.DrawFn

USUAL: Final = 100
"""The `max_examples` of a profile that draws what each test asks for."""


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
        with where_declared():
            check(drawn)

    # The gate draws what the name of the test says, a run that explores what its seed says.
    (seed(run_seed())(holds) if run_seed() else holds)()


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
