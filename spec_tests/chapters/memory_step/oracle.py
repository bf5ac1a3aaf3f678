"""docs/spec/memory_step.md in numpy: a step is one turn of the loop."""

from collections.abc import Mapping
from typing import Final

from spec_tests.chapters.memory_step.loop import TOKENS
from spec_tests.chapters.memory_step.traced import Traced
from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import Sums
from spec_tests.port import Op


def _memory_step(config: Config, x: Arrays, sums: Sums) -> Arrays:
    outputs, taps = Traced(config, sums).trace({**x, **{name: x[name][:, None] for name in TOKENS}})
    return outputs | {"reads": outputs["reads"][:, 0], "gradient": taps["gradient"][:, 0]}


ANSWERS: Final[Mapping[Op, Function]] = {Op.MEMORY_STEP: _memory_step}
