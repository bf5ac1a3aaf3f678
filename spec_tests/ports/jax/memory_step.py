"""One token of the memory in jax, written from docs/spec."""

from collections.abc import Hashable, Mapping
from typing import Final

from spec_tests.port import Op
from spec_tests.ports.jax.arrays import Implementation, Tensors
from spec_tests.ports.jax.memory import Options, Tokens, plan
from spec_tests.ports.jax.memory_scan import memory_scan


def _memory_step(form: Hashable, options: Options, x: Tensors) -> Tensors:
    sequence = {name: value[:, None] if name in Tokens._fields else value for name, value in x.items()}
    outputs = memory_scan(form, options, sequence)
    gone = ("momentum_trace", "weights_trace")
    cut = {name: outputs[name][:, 0] for name in ("reads", "gradient")}
    return {name: value for name, value in (outputs | cut).items() if name not in gone}


IMPLEMENTATIONS: Final[Mapping[Op, Implementation]] = {Op.MEMORY_STEP: Implementation(_memory_step, plan)}
