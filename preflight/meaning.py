"""What PASS means, and what it does not: the share of passes that learned, as `benchmarks.gate_power` measured it."""

from typing import Final, NamedTuple

from atlas_ref.config import RunConfig
from atlas_ref.config.model import ModelConfig
from preflight.span import must_remember


class Share(NamedTuple):
    """Configurations that passed and whose answers lie out of sight, and those of them that learned."""

    passed: int
    learned: int

    def told(self) -> str:
        """Return it as certificates, the study and the guide tell it."""
        return f"of {self.passed} small configurations that passed, {self.learned} learned what only a memory can know"


STUDY: Final = Share(passed=99, learned=91)
"""The one place of these numbers, which docs/preflight.md quotes: what `benchmarks.gate_power` found in the half of
draw 0 that was held out (11 of 11), in draw 1 (18 of 21), in draw 2 (17 of 21), in draw 4 (23 of 23) and in draw 5 (22
of 23), each by the thresholds of its time. The rehearsal, which judges such runs since, was chosen on draw 2; draw 3
judged it in part (15 of 15, of 29 that were asked), then changed it, and is not counted; draw 4 judged it as one of
half of the steps, and draw 5 as it is today.
"""
OUT_OF_SIGHT: Final = f"the memory is likely to be learned: {STUDY.told()}"
TEXT: Final = "the memory works and can be learned; whether this text is worth a memory is not known"
OTHERS: Final = "model and data are as they should be; whether the task will be learned is not known"
UNKNOWN: Final = "Not said: how well, how a larger model or a longer run does, and what other data ask for."


def meaning_of(config: RunConfig) -> str:
    """Return what the gates promise of a configuration that they pass, and what they do not know."""
    promised = OTHERS
    if isinstance(config.any_model, ModelConfig):
        promised = TEXT if must_remember(config) is None else OUT_OF_SIGHT
    return f"PASS means: {promised}. {UNKNOWN}"
