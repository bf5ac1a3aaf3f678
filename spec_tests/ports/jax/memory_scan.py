"""The recurrence of the memory over tokens in jax, written from docs/spec."""

from collections.abc import Hashable, Mapping
from functools import partial
from typing import Final

from spec_tests.port import Op
from spec_tests.ports.jax.arrays import Implementation, Tensors
from spec_tests.ports.jax.memory import Form, Options, over_rows_and_heads, plan, recurrence


def memory_scan(form: Hashable, options: Options, x: Tensors) -> Tensors:
    assert isinstance(form, Form)
    return over_rows_and_heads(form, partial(recurrence, form, options), x)


IMPLEMENTATIONS: Final[Mapping[Op, Implementation]] = {Op.MEMORY_SCAN: Implementation(memory_scan, plan)}
