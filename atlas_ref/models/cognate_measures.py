"""What is known of a model of the family `cognate` after a call: one table, as its parts are used one after another.

state_finite      1, or 0 when any number of the state is NaN or infinite
gate_variance     of the gate of backbone against memory, where there is one
"""

import torch

from atlas_ref.config.cognate import CognateConfig
from atlas_ref.functional.largest import largest_entries
from atlas_ref.models.cognate import CognateOutput
from atlas_ref.models.family import Measurements, Sheet


def measure_call(output: CognateOutput, config: CognateConfig) -> tuple[Measurements, ...]:
    """Return the table of one call."""
    return read_call(gather_call(output, config), config)


@torch.no_grad()
def gather_call(output: CognateOutput, config: CognateConfig) -> Sheet:
    """Return what is measured of one call, on the device."""
    del config
    (told,) = output.telemetry
    found = {name: value for name, value in told._asdict().items() if value is not None}
    floats = [tensor for tensor in output.state.to_tensors().values() if tensor.is_floating_point()]
    found["state_finite"] = largest_entries(floats).isfinite().all()
    return Sheet((tuple(found),), torch.stack([value.double() for value in found.values()]))


def read_call(sheet: Sheet, config: CognateConfig) -> tuple[Measurements, ...]:
    """Return the table of a sheet, in one transfer from the device, and what follows from it."""
    del config
    (names,) = sheet.names
    table = dict(zip(names, sheet.values.tolist(), strict=True))
    return ({**table, "gate_variance": table["gate_std"] ** 2} if "gate_std" in table else table,)
