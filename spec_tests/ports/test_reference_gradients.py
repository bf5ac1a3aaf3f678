"""What no port but the reference can be asked: torch's own check of its derivatives."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from spec_tests.chapters.memory_grad.test_memory_grad import mixed_case
from spec_tests.chapters.memory_step.calls import RULES, rule, tokens
from spec_tests.chapters.memory_step.loop import Config
from spec_tests.port import Op
from spec_tests.ports.reference import ReferencePort


@pytest.mark.parametrize(("form", "architecture"), [(Op.MEMORY_SCAN, "matrix"), (Op.MEMORY_CHUNKED, "mlp")])
@pytest.mark.parametrize("name", RULES)
def test_the_reference_passes_gradcheck_through_five_writes(name: str, architecture: str, form: Op) -> None:
    config = rule(name, architecture, chunk=2)
    inputs = tokens(mixed_case(config, 9), slice(0, 5))
    tensors = {name: torch.tensor(value) for name, value in inputs.items()}
    leaves = [name for name, value in tensors.items() if value.is_floating_point() and value.numel()]
    function: Callable[..., tuple[Tensor, ...]] = partial(outputs_of, form, config, tensors, leaves)
    arguments = [tensors[name].requires_grad_() for name in leaves]
    assert torch.autograd.gradcheck(
        function, arguments, eps=1e-6, atol=1e-6, rtol=1e-5, fast_mode=True, check_undefined_grad=False
    )


def outputs_of(
    form: Op, config: Config, tensors: dict[str, Tensor], leaves: list[str], *values: Tensor
) -> tuple[Tensor, ...]:
    outputs = ReferencePort.functions[form](config, tensors | dict(zip(leaves, values, strict=True)))
    return tuple(value for name, value in outputs.items() if value.is_floating_point() and value.numel())
