"""The form of the memory that trains, in jax: the parallel one, so its gradients are those of `memory_grad`."""

from collections.abc import Mapping
from typing import Final

from spec_tests.port import Op
from spec_tests.ports.jax.arrays import Implementation
from spec_tests.ports.jax.memory_chunked import chunked_plan, memory_chunked

IMPLEMENTATIONS: Final[Mapping[Op, Implementation]] = {Op.MEMORY_GRAD: Implementation(memory_chunked, chunked_plan)}
