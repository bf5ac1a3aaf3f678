"""What adapters share, on a memory of three lines: documents, rows, states and precisions are cut as the text says."""

from collections.abc import Mapping
from typing import Final

import pytest
import torch
from torch import Tensor

from spec_tests.port import Numerics, Op
from spec_tests.ports.public.documents import Memory, one_by_one, scan, step
from spec_tests.ports.public.torch_port import MEMORY, Config, Function, Tensors, TorchPort, values
from spec_tests.vectors.case import absent, load_cases
from spec_tests.vectors.judge import judge

FORMS: Final = (Op.MEMORY_STEP, Op.MEMORY_SCAN)


def token(config: Config, memory: Memory, tokens: Tensors) -> tuple[Tensor, Memory]:
    """Write and read one token by the equations of Titans."""
    key, value, query = (tokens[name][0] for name in ("keys", "values", "queries"))
    rate, alpha, theta = (tokens[name][0, :, None, None] for name in ("step_size", "retention", "momentum_decay"))
    error = torch.einsum("hvk,hk->hv", memory.weights, key) - value
    gradient = (
        2.0 * config["loss_scale"] * tokens["window_weights"][0, :, :, None] * error[:, :, None] * key[:, None, :]
    )
    momentum = theta * memory.momentum - rate * gradient
    weights = alpha * memory.weights + momentum
    return torch.einsum("hvk,hk->hv", weights, query).unsqueeze(0), Memory(weights, momentum, memory.weights)


class Tiny(TorchPort):
    """The plainest memory under torch's own name."""

    distribution = "torch"
    only = MEMORY | values(rule="titans", read="post")
    longest: Mapping[str, int] = {"window": 1}

    @property
    def functions(self) -> Mapping[Op, Function]:
        return {Op.MEMORY_STEP: step(token), Op.MEMORY_SCAN: scan(one_by_one(token))}


@pytest.mark.parametrize("op", FORMS)
def test_a_memory_of_three_lines_passes_every_stored_case_of_the_plainest(op: Op) -> None:
    """Kills: a reset that keeps S; rows that share a memory; an anchor after the write; reads that are no bfloat16."""
    port = Tiny()
    found: dict[Numerics, int] = {}
    for case in load_cases(op=op):
        for numerics in case.numerics:
            if absent(port.declare(), case, numerics) is None:
                judged = judge(port, case, numerics)
                assert judged.divergence is None, f"{case.id} in {numerics}: {judged.divergence}"
                found[numerics] = found.get(numerics, 0) + 1
    assert found.keys() == {Numerics.F64, Numerics.F32, Numerics.BF16_IO}
    assert min(found.values()) >= 5
