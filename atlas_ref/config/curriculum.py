"""The curriculum over the public data sets: which of them are read in which epoch.

    epoch e(s) = s // E + 1 of update s (0-based), of E updates each
    stage      = 1 foundation, 2 reasoning from epoch R on, 3 advanced from epoch A on

A stage reads the sets of those before it too. The source system has R = 4 and A = 7 of ten epochs, one learning rate
and one batch size for all of them: no stage has settings of its own.
"""

from collections.abc import Iterator

from pydantic import Field

from atlas_ref.config.section import Section

STAGES: dict[str, tuple[str, ...]] = {
    "foundation": ("gsm8k", "svamp", "mbpp", "arc_easy", "piqa", "wikitext"),
    "reasoning": ("asdiv", "arc_challenge", "boolq", "strategyqa"),
    "advanced": ("codexglue", "drop", "hotpotqa", "hellaswag"),
}
"""The stages in their order, and the sets that each brings: six, ten and fourteen in all."""


class CurriculumConfig(Section):
    """Which of the public sets are read when."""

    epoch_steps: int = Field(ge=0, le=10**9)
    """optimiser steps of an epoch; 0: no curriculum, all sets from the first step on"""
    reasoning_epoch: int = Field(ge=1, le=10**9)
    """first epoch, counted from 1, that reads asdiv, arc_challenge, boolq and strategyqa too"""
    advanced_epoch: int = Field(ge=1, le=10**9)
    """first epoch that reads codexglue, drop, hotpotqa and hellaswag too"""
    judged: int = Field(ge=0, le=10**9)
    """validation examples of each set that are answered and judged at the end of an epoch; 0: none"""

    def epoch(self, update: int) -> int:
        """Return the epoch, from 1, of an update (0-based)."""
        return update // self.epoch_steps + 1

    def stage(self, update: int) -> int:
        """Return the stage, 1 to 3, of an update (0-based)."""
        epoch = self.epoch(update)
        return 1 + (epoch >= self.reasoning_epoch) + (epoch >= self.advanced_epoch)

    def begins(self, update: int) -> bool:
        """Return whether a stage begins with an update (0-based), the first of all included."""
        return update == 0 or self.stage(update) != self.stage(update - 1)

    def problems(self) -> Iterator[str]:
        """Yield a sentence for stages out of their order."""
        if self.advanced_epoch < self.reasoning_epoch:
            yield (
                f"data.curriculum.advanced_epoch is {self.advanced_epoch}; it must be at least "
                f"data.curriculum.reasoning_epoch, which is {self.reasoning_epoch}"
            )


def sets_of(stage: int) -> tuple[str, ...]:
    """Return the sets that a stage, 1 to 3, reads."""
    return tuple(name for names in [*STAGES.values()][:stage] for name in names)
