"""Rows of a table by their numbers, beside numpy. Every test names the fault that it caught."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from atlas_ref.config import RunConfig
from atlas_ref.functional.embedding import embed
from atlas_ref.models.registry import build_model
from spec_tests.package.micro.arithmetic import arithmetic_config, transformer_config
from spec_tests.package.micro.cognate import cognate_config
from spec_tests.package.micro.runs import micro_config


def modes_of_lookups(work: Callable[[], object]) -> list[int]:
    """Do some work, and return the mode of torch at each of its look-ups that is a derivative: 0 leaves the order open,
    and 2 does not."""
    modes: list[int] = []

    def dispatch(self: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Make an operation, and note the mode."""
        del self, types
        if func is torch.ops.aten.embedding_dense_backward.default:
            modes.append(torch.get_deterministic_debug_mode())
        return func(*args, **(kwargs or {}))

    mode: AbstractContextManager[None] = type("_Modes", (TorchDispatchMode,), {"__torch_dispatch__": dispatch})()
    with mode:
        work()
    return modes


@pytest.mark.parametrize(
    ("rows", "width", "tokens"), [(7, 3, (4, 9)), (1, 1, (5, 1)), (300, 2, (2, 3)), (3, 2, (2, 0))]
)
def test_rows_and_the_gradient_of_their_table_are_those_of_numpy(
    rows: int, width: int, tokens: tuple[int, int]
) -> None:
    """Kills: rows that are asked for several times and get one gradient; the gradient of one that nobody asked for; a
    gradient that does not lie in order in memory; a table of one row, or of many that few tokens ask for; no token."""
    random = np.random.default_rng(0)
    table, index = random.standard_normal((rows, width)), random.integers(rows // 7, max(1, rows - 1), tokens)
    slope, summed = random.standard_normal((width, *tokens)), np.zeros((rows, width))
    np.add.at(summed, index, np.moveaxis(slope, 0, -1))
    weight = torch.from_numpy(table).requires_grad_()
    found = embed(weight, torch.from_numpy(index))
    torch.autograd.backward(found, torch.from_numpy(slope).movedim(0, -1))
    assert np.array_equal(found.detach().numpy(), table[index])
    assert weight.grad is not None
    assert np.allclose(weight.grad.numpy(), summed, rtol=0.0, atol=1e-14)


def test_the_gradient_of_a_table_can_be_differentiated() -> None:
    """Kills: a gradient that nothing goes through: in the cotangent it is a sum, whose derivative looks rows up."""
    random = np.random.default_rng(1)
    table, index = random.standard_normal((7, 3)), random.integers(1, 6, (4, 9))
    weight = torch.from_numpy(table).requires_grad_()
    cotangent = torch.from_numpy(random.standard_normal((4, 9, 3))).requires_grad_()
    (first,) = torch.autograd.grad(embed(weight, torch.from_numpy(index)), weight, cotangent, create_graph=True)
    (second,) = torch.autograd.grad(first, cotangent, torch.from_numpy(table))
    assert np.array_equal(second.numpy(), table[index])


@pytest.mark.parametrize("before", ["default", "warn", "error"])
def test_a_gradient_is_added_up_in_order_and_torch_is_left_as_it_was(before: str) -> None:
    """Kills: the order left open; the mode left behind; a mode of the caller's that is lost."""
    weight, index = torch.ones(3, 2, requires_grad=True), torch.tensor([0, 2, 2])
    torch.set_deterministic_debug_mode(before)
    try:
        expected, asked = torch.get_deterministic_debug_mode(), embed(weight, index).sum()
        assert modes_of_lookups(asked.backward) == [2]
        assert torch.get_deterministic_debug_mode() == expected
    finally:
        torch.set_deterministic_debug_mode("default")


@pytest.mark.parametrize(
    ("config", "tables"),
    [(micro_config(), 1), (cognate_config(), 2), (arithmetic_config(), 3), (transformer_config(), 2)],
    ids=["atlas", "cognate", "perceptron", "transformer"],
)
def test_every_family_looks_its_tokens_up_in_order(config: RunConfig, tables: int) -> None:
    """Kills: a table of a family that is looked up by torch's own derivative, tokens or places."""
    model = build_model(config.any_model, 0)
    tokens = torch.randint(5, (2, 3), generator=torch.Generator().manual_seed(1))
    loss = model(tokens, model.initial_state(2), None).logits.square().sum()
    assert modes_of_lookups(loss.backward) == [2] * tables


def test_on_a_gpu_a_gradient_has_the_same_bits_each_time() -> None:
    """Kills: 16,384 tokens of 257, a few of them frequent, added up as they happen to arrive."""
    if not torch.cuda.is_available():
        pytest.skip("asks for a GPU: on a CPU torch adds in order")
    draw = torch.Generator().manual_seed(0)
    index = torch.multinomial(1.0 / torch.arange(1, 258), 16_384, replacement=True, generator=draw).cuda()
    slope = torch.randn(16_384, 320, generator=draw).cuda()
    weight = torch.zeros(257, 320, device="cuda", requires_grad=True)
    found = [torch.autograd.grad(embed(weight, index), weight, slope)[0] for _ in range(5)]
    assert all(torch.equal(each, found[0]) for each in found)
