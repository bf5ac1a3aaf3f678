"""The network of two layers around a square: what it computes, and that it is a function of its document alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from atlas_ref.config import load_config
from atlas_ref.config.quadratic import QuadraticConfig
from atlas_ref.models.quadratic import QuadraticModel, QuadraticOutput, QuadraticState
from atlas_ref.models.quadratic_tensors import count_parameters, tensors, training_flops
from spec_tests.package.micro.arithmetic import make_model

TOKENS = torch.tensor([[3, 0, 6, 6, 1], [2, 2, 5, 4, 0], [1, 4, 3, 0, 2]])
RESET = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]).bool()
"""A document that ends within a row, one that begins before it, and one that is all of it."""


def call(model: QuadraticModel, tokens: torch.Tensor, state: QuadraticState, reset: torch.Tensor) -> QuadraticOutput:
    output: QuadraticOutput = model(tokens, state, reset)
    return output


def some_state(model: QuadraticModel) -> QuadraticState:
    random = torch.Generator().manual_seed(5)
    total = torch.randn(3, 8, generator=random, dtype=torch.float64)
    return replace(model.initial_state(3), position=torch.tensor([1, 0, 4]), total=total)


def test_logits_are_those_of_the_equation_for_every_document() -> None:
    """Kills: a sum that goes on over a reset; a mean; the square after the second matrix; a sum without the state; an
    answer to a question of one number, or none to one that another call began."""
    model = make_model()
    state = some_state(model)
    output = call(model, TOKENS, state, RESET)
    table, w_in, w_out = (p.detach().numpy() for p in model.parameters())
    for row in range(3):
        seen, total = int(state.position[row]), state.total[row].numpy()
        for time in range(5):
            seen, total = (0, 0.0 * total) if RESET[row, time] else (seen, total)
            seen, total = seen + 1, total + table[TOKENS[row, time]]
            answers = [sum(w_out[c, j] * (w_in[j] @ total) ** 2 for j in range(len(w_in))) for c in range(7)]
            expected = answers if seen >= 2 else [0.0] * 7
            np.testing.assert_allclose(output.logits[row, time].detach().numpy(), expected, rtol=1e-12)
        np.testing.assert_allclose(output.state.total[row].detach().numpy(), total, rtol=1e-12)
        assert int(output.state.position[row]) == seen


@pytest.mark.parametrize("cut", range(6))
def test_any_split_into_calls_gives_the_same(cut: int) -> None:
    """Kills: a state that is not handed on; an empty call that forgets it."""
    model = make_model()
    whole = call(model, TOKENS, some_state(model), RESET)
    first = call(model, TOKENS[:, :cut], some_state(model), RESET[:, :cut])
    second = call(model, TOKENS[:, cut:], first.state, RESET[:, cut:])
    torch.testing.assert_close(torch.cat([first.logits, second.logits], 1), whole.logits, rtol=1e-12, atol=1e-12)
    assert torch.equal(second.state.total, whole.state.total)
    assert torch.equal(second.state.position, whole.state.position)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_what_another_document_held_changes_nothing_forward_and_backward(bad: float) -> None:
    """Kills: the sum before a reset multiplied by zero."""
    model = make_model()
    reset = torch.tensor([[True, False, True, False]])
    clean = call(model, torch.tensor([[2, 2, 1, 4]]), model.initial_state(1), reset)
    with torch.no_grad():
        model.embedding.weight[5] = bad
    found = call(model, torch.tensor([[5, 5, 1, 4]]), model.initial_state(1), reset)
    assert torch.equal(found.logits[:, 2:], clean.logits[:, 2:])
    (gradient,) = torch.autograd.grad(found.state.total.sum(), model.embedding.weight)
    assert gradient.sum(1).tolist() == [0.0, 8.0, 0.0, 0.0, 8.0, 0.0, 0.0]


def test_the_preset_has_the_parameters_of_the_recipe_and_its_table_lists_them() -> None:
    """97 x 128, 128 x 256 and 256 x 97 are 70,016. Kills: a bias; another width; a table that is short."""
    config = load_config("grok-square").any_model
    assert isinstance(config, QuadraticConfig)
    shapes = {name: tuple(parameter.shape) for name, parameter in QuadraticModel(config, 0).named_parameters()}
    assert {info.name: info.shape for info in tensors(config)} == shapes
    assert count_parameters(config) == sum(np.prod(shape) for shape in shapes.values()) == 70_016


def test_the_operations_of_a_step_are_what_torch_counts_and_three_times_that() -> None:
    """Kills: multiplications counted without additions; one matrix alone."""
    model = make_model()
    with FlopCounterMode(display=False) as counter:
        call(model, TOKENS[:, :2], model.initial_state(3), RESET[:, :2])
    assert training_flops(model.config) * 6 == 3 * counter.get_total_flops()


def test_a_seed_decides_the_weights_whatever_the_global_generator_says() -> None:
    """Kills: weights drawn from the framework's own generator."""
    torch.manual_seed(1)
    first = make_model(seed=4)
    torch.manual_seed(2)
    again, other = make_model(seed=4), make_model(seed=5)
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name)), name
        assert not torch.equal(parameter, other.get_parameter(name)), name
