"""What the outer step changes in the model: the floor of the gates, whether the memory is written, what is left out.

    floor(s) = floor + (floor_start - floor) max(0, 1 - s / floor_decay_steps),    writes(s) = s >= ttl_warmup_steps

or, where `floor_until` has steps, in steps: floor_before[i] before step floor_until[i], and `floor` from the last on.

The step is an argument of every call, never a counter in a module, so that a resumed run, validation and another
process see what training sees. A call without a step is one after all schedules have ended.
"""

from typing import NamedTuple

from atlas_ref.blocks.dropout import LayerDrops
from atlas_ref.config.model import ModelConfig
from atlas_ref.functional.gate_floor import stepped_floor


class Phase(NamedTuple):
    """The floor of the gates, and whether the memory is written (decision `join`, `write-schedule`).

    `drops` is what one layer leaves out, which is nothing but in training (`blocks.dropout`).
    """

    gate_floor: float
    writes: bool
    drops: LayerDrops = LayerDrops()


def phase_at(config: ModelConfig, outer_step: int | None) -> Phase:
    """Return the phase of a model that has made `outer_step` optimiser steps; None: all of them."""
    gate = config.gate
    if outer_step is None:
        return Phase(gate.floor, True)
    writes = outer_step >= config.memory.ttl_warmup_steps
    if gate.floor_until:
        return Phase(stepped_floor(outer_step, gate.floor_until, gate.floor_before, gate.floor), writes)
    left = max(0.0, 1.0 - outer_step / gate.floor_decay_steps) if gate.floor_decay_steps else 0.0
    return Phase(gate.floor + (gate.floor_start - gate.floor) * left, writes)
