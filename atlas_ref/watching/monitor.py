"""What is known about each layer after a step: plain numbers, a table a layer, from what the forward pass left behind.

    measurements = measure_layers(model(tokens, state, reset), config.any_model)       measurements[layer]["gate_std"]

What is in the tables is for the family of the model to say (`models.measures` for ATLAS); what stands for all layers
follows from the names. Everything is taken at every step and from this step alone: no baseline at step 100 and no
comparison at step 500, which a resumed run or a strided log would miss, as in one source system. Nothing here has a
gradient or draws a random number, so a monitored run has the bits of one that is not.
"""

import math
from collections.abc import Mapping, Sequence

from atlas_ref.config.run import AnyModelConfig
from atlas_ref.models.family import Measurements, Output, Sheet
from atlas_ref.models.registry import family_of


def measure_layers(output: Output, config: AnyModelConfig, sheet: Sheet | None = None) -> tuple[Measurements, ...]:
    """Return the table of every layer of one call, from the sheet where its numbers were gathered before."""
    family = family_of(config)
    if sheet is not None and family.read is not None:
        return family.read(sheet, config)
    return family.measure(output, config)


def log_entries(layers: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the metrics over all layers, such as `memory/omega_loss`, and of each, `memory/layer_0/omega_loss`.

    Over all layers stands the mean, the least of what is a least (and of `state_finite`), and the largest of what is
    a largest (and of `newton_schulz_error`, that of the worst matrix).
    """
    names = dict.fromkeys(name for table in layers for name in table)
    whole = {f"memory/{name}": _over_layers(name, [table[name] for table in layers if name in table]) for name in names}
    each = {f"memory/layer_{n}/{name}": value for n, table in enumerate(layers) for name, value in table.items()}
    return whole | each


def _over_layers(name: str, values: list[float]) -> float:
    """Return what stands for all layers; NaN in any of them stays NaN."""
    if any(math.isnan(value) for value in values):
        return math.nan
    if name.endswith("_min") or name == "state_finite":
        return min(values)
    if name.endswith("_max") or name == "newton_schulz_error":
        return max(values)
    return sum(values) / len(values)
