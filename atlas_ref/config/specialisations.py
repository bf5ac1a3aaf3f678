"""The three specialisations of `cognate-27m`: presets that differ in when they halt, what they keep, and their seed.

    cognate-reasoning    the highest threshold: it thinks longest
    cognate-memory       the most slots and the least surprise: it keeps most
    cognate-speed        the lowest threshold: it answers soonest

The source system names the same three; its threshold of `speed` is the highest of all, by which it would think longest.
"""

from collections.abc import Mapping, Sequence

from atlas_ref.config.loading import load_config
from atlas_ref.config.run import RunConfig
from atlas_ref.errors import UserError

SPECIALISATIONS = ("cognate-reasoning", "cognate-memory", "cognate-speed")
OWN = ("model.halting.threshold", "model.ltm.slots", "model.ltm.surprise")
"""The fields that make them three."""


def specialised(overrides: Sequence[str] = ()) -> Mapping[str, RunConfig]:
    """Return the configuration of each, with the same overrides; raise UserError for one that makes them alike."""
    for override in overrides:
        name = override.partition("=")[0].strip()
        if name in OWN:
            raise UserError(
                f"--set {override}: {name} is what the specialisations differ in; change it in a run of its own "
                f"(--config {SPECIALISATIONS[0]})."
            )
    return {name: load_config(name, overrides) for name in SPECIALISATIONS}
