"""Which rows of several data sets are trained on at a step: a function of the seed and the step.

With n_s examples to train on in set s, row b of a step is

    s with probability sqrt(n_s) / sum sqrt(n),    then each of its rows alike,    from Philox(seed) at the step alone

so that a set a hundred times as large is read ten times as often. With a curriculum the sum is over the sets of the
stage that the step is in, and nothing else changes at its border: there is no place in the data that a run would have
to remember.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from atlas_ref.config.curriculum import STAGES, CurriculumConfig, sets_of


class Draw(NamedTuple):
    """The rows of a step, where all sets are read, or those of one stage."""

    seed: int
    batch_size: int
    rows: tuple[int, ...]
    """Rows of each set, which stand one set behind the other."""
    examples: tuple[int, ...]
    """Examples in them; 0 for a set that is not read."""

    @property
    def shares(self) -> NDArray[np.float64]:
        """How likely each set is."""
        roots = np.sqrt(np.array(self.examples, dtype=np.float64))
        # One example has a root of 1; where there is none, nothing is drawn (`check_rows`).
        shares: NDArray[np.float64] = roots / max(roots.sum(), 1.0)
        return shares

    def numbers(self, step: int) -> NDArray[np.int64]:
        """The numbers of the rows of a step, [batch]."""
        generator = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, step, 1]))
        sets = generator.choice(len(self.rows), self.batch_size, p=self.shares)
        sizes = np.array(self.rows)
        first = np.cumsum(sizes) - sizes
        numbers: NDArray[np.int64] = first[sets] + generator.integers(sizes[sets])
        return numbers


class Course(NamedTuple):
    """The draws of all steps: one for each stage of a curriculum, or one."""

    plan: CurriculumConfig
    names: tuple[str, ...]
    """The sets of a draw."""
    draws: tuple[Draw, ...]

    @classmethod
    def of(cls, plan: CurriculumConfig, names: tuple[str, ...], draw: Draw) -> "Course":
        """Return the course over the sets that there are; `draw` is that of all of them."""
        if not plan.epoch_steps:
            return cls(plan, names, (draw,))
        stages = [sets_of(stage) for stage in range(1, len(STAGES) + 1)]
        known = [
            tuple(size if name in stage else 0 for name, size in zip(names, draw.examples, strict=True))
            for stage in stages
        ]
        return cls(plan, names, tuple(draw._replace(examples=examples) for examples in known))

    def numbers(self, step: int) -> NDArray[np.int64]:
        """The numbers of the rows of a step, [batch]."""
        return self.draws[self.plan.stage(step) - 1 if self.plan.epoch_steps else 0].numbers(step)

    def border(self, step: int) -> str | None:
        """Return what there is to say where a stage begins with a step (0-based), None elsewhere."""
        if not self.plan.epoch_steps or not self.plan.begins(step):
            return None
        stage = self.plan.stage(step)
        name, wanted = [*STAGES][stage - 1], sets_of(stage)
        there = [each for each in wanted if each in self.names]
        absent = [each for each in wanted if each not in self.names]
        return (
            f"curriculum: stage {stage}, {name}, from step {step + 1} (epoch {self.plan.epoch(step)}): "
            f"{len(there)} of its {len(wanted)} sets, {', '.join(there)}"
            + (f"; absent: {', '.join(absent)}" if absent else "")
        )
