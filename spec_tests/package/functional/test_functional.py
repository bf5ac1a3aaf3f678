"""Properties of the functional core that no operation of the port contract shows."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from atlas_ref.errors import UserError
from atlas_ref.functional.attention import sliding_window_attention
from atlas_ref.functional.convolution import short_convolution
from atlas_ref.functional.gain import effective_gain, stochastic_round_bf16
from atlas_ref.functional.mag_gate import mag_gate
from atlas_ref.functional.newton_schulz import newton_schulz
from atlas_ref.functional.normalize import l2_normalize, unit_vector
from atlas_ref.functional.polynomial import Basis, feature_dim, initial_coefficients, polynomial_features
from atlas_ref.functional.qk_projection import BLOCK, qk_project
from atlas_ref.functional.rotary import rotate
from atlas_ref.functional.scan import linear_scan
from atlas_ref.functional.sight import sees_bad
from atlas_ref.functional.window import recent
from atlas_ref.memory.state import fresh_memory_state, join_rows


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_rotated_products_depend_on_the_difference_of_positions_only() -> None:
    query, key = normal(1, 1, 2, 8, seed=1), normal(1, 1, 2, 8, seed=2)

    def product(of_query: int, of_key: int) -> Tensor:
        left = rotate(query, torch.tensor([[of_query]]), 1e4)
        return (left * rotate(key, torch.tensor([[of_key]]), 1e4)).sum(-1)

    torch.testing.assert_close(product(1_000_007, 1_000_000), product(7, 0), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(product(8, 0), product(7, 0))


def test_rotation_turns_each_pair_by_its_own_frequency() -> None:
    x = normal(1, 1, 1, 6, seed=3)
    turned = rotate(x, torch.tensor([[5]]), 100.0)[0, 0, 0]
    for pair in range(3):
        angle = torch.tensor(5.0 * 100.0 ** (-2 * pair / 6), dtype=torch.float64)
        number = torch.complex(x[0, 0, 0, 2 * pair], x[0, 0, 0, 2 * pair + 1]) * torch.exp(1j * angle)
        torch.testing.assert_close(torch.complex(turned[2 * pair], turned[2 * pair + 1]), number)


def test_stochastic_rounding_lands_on_a_neighbour_and_is_right_on_average() -> None:
    value, draws = 1.0 + 0.3 / 128, 40_000
    rounded = stochastic_round_bf16(torch.full((draws,), value), torch.Generator().manual_seed(4)).double()
    assert set(rounded.tolist()) == {1.0, 1.0 + 1 / 128}
    deviation = (0.3 * 0.7) ** 0.5 / 128 / draws**0.5
    assert abs(rounded.mean().item() - value) < 4 * deviation
    special = torch.tensor([float("inf"), -float("inf"), float("nan"), 0.0, -3.0])
    kept = stochastic_round_bf16(special, torch.Generator().manual_seed(5)).float()
    torch.testing.assert_close(kept, special, equal_nan=True, rtol=0, atol=0)


def test_stochastic_rounding_lets_a_bfloat16_logarithm_follow_small_steps() -> None:
    # 1000 steps of -1e-4: rounding to the nearest bfloat16 loses them all.
    generator = torch.Generator().manual_seed(6)
    nearest = stochastic = torch.full((64,), 1.609375, dtype=torch.bfloat16)
    for _ in range(1000):
        nearest = (nearest.float() - 1e-4).bfloat16()
        stochastic = stochastic_round_bf16(stochastic.float() - 1e-4, generator)
    assert (nearest == 1.609375).all()
    assert abs(stochastic.double().mean().item() - 1.509375) < 0.01


def test_the_initial_coefficients_make_the_kernel_that_of_the_exponential() -> None:
    x = 0.3 * normal(4, 3, seed=7)
    lifted = polynomial_features(x, torch.tensor(initial_coefficients(8), dtype=torch.float64), "monomial_weighted")
    assert lifted.shape[-1] == feature_dim(3, 8, "monomial_weighted")
    torch.testing.assert_close(lifted @ lifted.T, (x @ x.T).exp() - 1.0, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_functions_return_the_dtype_they_were_given(dtype: torch.dtype) -> None:
    x = normal(2, 3, 4, 6, dtype=torch.float32).to(dtype)
    assert newton_schulz(x, 3, "quintic").dtype == dtype
    assert l2_normalize(x, 1e-6).dtype == dtype
    assert rotate(x, torch.arange(3).expand(2, 3), 1e4).dtype == dtype
    assert polynomial_features(x, torch.ones(2), "monomial_weighted").dtype == dtype


def test_the_projection_never_forms_its_matrix_at_every_token() -> None:
    time, dim = 20 * BLOCK, 128
    sizes: list[int] = []

    def kept(x: Tensor) -> Tensor:
        sizes.append(x.numel())
        return x

    queries = normal(1, time, 1, dim, seed=8, dtype=torch.float32).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(kept, lambda x: x):
        qk_project(queries, queries, torch.zeros(1, 1, dim, dim), torch.arange(time)[None])
    assert max(sizes) < time * dim * dim / 8


@pytest.mark.parametrize("basis", ["monomial_weighted", "monomial", "kronecker", "elementwise"])
@pytest.mark.parametrize("degree", [1, 2, 4])
def test_the_number_of_features_is_known_beforehand(basis: Basis, degree: int) -> None:
    lifted = polynomial_features(normal(2, 3, seed=9), torch.ones(degree, dtype=torch.float64), basis)
    assert lifted.shape[-1] == feature_dim(3, degree, basis)


def test_a_direction_is_exact_at_every_scale() -> None:
    """Kills: squares of what float32 cannot square; the largest entry taken for the largest in size."""
    x = -normal(5, 4, seed=10).abs()
    for scale in (1e-25, 1.0, 1e25):
        found = unit_vector((scale * x).float()).double()
        torch.testing.assert_close(found, x / x.norm(dim=-1, keepdim=True), rtol=1e-6, atol=0.0)


def test_the_gradient_of_a_direction_is_the_projection_and_zero_at_zero() -> None:
    """Kills: a length that is a constant where its square is one; a gradient for the vector without a direction."""
    x = torch.tensor([[0.0, -1.0, 0.0], [0.3, -2.0, 0.5], [0.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    weights = normal(3, 3, seed=11)
    (found,) = torch.autograd.grad((unit_vector(x) * weights).sum(), x)
    for row in range(2):
        length = x[row].detach().norm()
        u, w = x[row].detach() / length, weights[row]
        torch.testing.assert_close(found[row], (w - (w @ u) * u) / length)
    assert not found[2].any()


def test_a_fresh_state_is_the_initial_memory_without_past() -> None:
    """Kills: a window one pair too long or too short; sizes taken from the wrong axis."""
    outer, inner = normal(2, 4, 7, seed=12), normal(2, 7, 5, seed=13)
    for initial in ((outer,), (outer, inner)):
        state = fresh_memory_state(initial, batch=3, window=6, features=5, values=4)
        for weights, momentum, anchor, start in zip(state.weights, state.momentum, state.anchor, initial, strict=True):
            assert torch.equal(weights, torch.stack([start] * 3))
            assert torch.equal(anchor, weights)
            assert torch.equal(momentum, torch.zeros_like(weights))
        assert torch.equal(state.window_keys, torch.zeros(3, 5, 2, 5, dtype=torch.float64))
        assert torch.equal(state.window_values, torch.zeros(3, 5, 2, 4, dtype=torch.float64))
        assert torch.equal(state.position, torch.zeros(3, dtype=torch.int64))


def test_attention_and_its_memory_are_linear_in_time() -> None:
    """Kills: scores of every pair of tokens; blocks beyond the end of the sequence."""
    time, window = 512, 16
    sizes: list[int] = []

    def kept(x: Tensor) -> Tensor:
        sizes.append(x.numel())
        return x

    x, cache, none = normal(1, time, 1, 4).requires_grad_(), normal(1, window - 1, 1, 4), normal(0, 1, 4)
    with torch.autograd.graph.saved_tensors_hooks(kept, lambda x: x):
        sliding_window_attention(x, x, x, none, none, cache, cache, torch.arange(time)[None], window)
    assert max(sizes) < time * time / 4


def test_the_state_does_not_keep_the_sequence_alive() -> None:
    x, none, position = normal(1, 50, 1, 4), normal(0, 1, 4), torch.arange(50)[None]
    cache = normal(1, 3, 1, 4)
    _, *kept = sliding_window_attention(x, x, x, none, none, cache, cache, position, 4)
    _, tail = short_convolution(x[:, :, 0], normal(4, 4), cache[:, :, 0], position)
    # What a caller keeps goes through `recent`; until then caches may be views of the sequence.
    for state in recent(torch.tensor([50]), 3, *kept, tail.unsqueeze(2)):
        assert state.untyped_storage().nbytes() == state.nbytes


def attended(window: int, cached: int) -> Tensor:
    x, cache, none = torch.ones(1, 2, 1, 4), torch.ones(1, cached, 1, 4), torch.ones(0, 1, 4)
    position = torch.zeros(1, 2, dtype=torch.int64)
    return sliding_window_attention(x, x, x, none, none, cache, cache, position, window)[0]


REFUSALS: list[tuple[Callable[[], object], str]] = [
    (lambda: newton_schulz(torch.ones(2, 2), -1, "quintic"), "steps is -1"),
    (lambda: l2_normalize(torch.ones(2), 0.0), "positive length"),
    (lambda: rotate(torch.ones(1, 1, 1, 3), torch.zeros(1, 1, dtype=torch.int64), 1e4), "even"),
    (lambda: polynomial_features(torch.ones(2), torch.ones(0), "kronecker"), "degree is 0"),
    (lambda: effective_gain(torch.ones(2, dtype=torch.bfloat16)), "float32 or wider"),
    (lambda: attended(window=5, cached=2), "a window of 5"),
    (lambda: attended(window=0, cached=0), "a window of 0"),
]


@pytest.mark.parametrize(("call", "words"), REFUSALS, ids=[words for _, words in REFUSALS])
def test_bad_input_is_refused_in_one_sentence(call: Callable[[], object], words: str) -> None:
    with pytest.raises(UserError, match=words) as refusal:
        call()
    assert "\n" not in str(refusal.value)


def test_a_linear_scan_is_the_loop_in_value_and_gradient_with_decays_of_zero_and_one() -> None:
    """Kills: a decay off by one; the initial state left out; a gradient lost or not finite at a decay of 0."""
    random = torch.Generator().manual_seed(3)
    decay, inputs, initial, weights = (
        torch.rand(shape, generator=random, dtype=torch.float64) for shape in ((9, 2), (9, 2, 4), (2, 4), (9, 2, 4))
    )
    decay[3, 0], decay[6, 0], decay[5, 1] = 0.0, 0.0, 1.0
    leaves = [x.requires_grad_() for x in (decay, inputs, initial)]
    state, states = initial, []
    for t in range(9):
        state = decay[t, :, None] * state + inputs[t]
        states.append(state)
    expected = torch.stack(states)
    actual = linear_scan(decay, inputs, initial)

    torch.testing.assert_close(actual, expected, rtol=1e-13, atol=1e-13)
    for found, wanted in zip(
        torch.autograd.grad((actual * weights).sum(), leaves),
        torch.autograd.grad((expected * weights).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13)


def test_one_vector_that_is_not_finite_is_enough_to_be_seen() -> None:
    sight = torch.tensor([[True, False, False], [False, True, True], [True, True, False]])
    assert sees_bad(sight, torch.tensor([True, False, False]), torch.float32).tolist() == [True, False, True]


def test_a_fresh_state_that_gathers_losses_has_a_longer_window_and_none_of_them() -> None:
    state = fresh_memory_state((normal(2, 4, 5, seed=15),), batch=3, window=6, features=5, values=4, update_every=3)
    assert state.window_keys.shape == (3, 7, 2, 5)
    assert [torch.equal(waiting, torch.zeros(3, 2, 2, 6, dtype=torch.float64)) for waiting in state.waiting] == [True]
    assert fresh_memory_state((normal(2, 4, 5, seed=15),), batch=3, window=6, features=5, values=4).waiting == ()


def test_rows_of_a_state_taken_apart_and_joined_are_the_state() -> None:
    whole = fresh_memory_state((normal(2, 4, 5, seed=16),), batch=3, window=6, features=5, values=4)
    whole = whole.map(lambda tensor: tensor + torch.arange(3).view(3, *(1,) * (tensor.ndim - 1)))
    for cuts in ((0, 3), (0, 1, 3), (0, 1, 2, 3)):
        joined = join_rows([whole.rows(slice(first, last)) for first, last in pairwise(cuts)])
        for name, tensor in whole.to_tensors().items():
            assert torch.equal(joined.to_tensors()[name], tensor), name


def test_a_gate_whose_floor_is_one_stays_open_and_one_without_a_floor_is_its_sigmoid() -> None:
    """Kills: the floor of another number that is taken for none."""
    attention, memory, logits = normal(3, 4), normal(3, 4, seed=1), normal(3, 4, seed=2)
    assert torch.equal(mag_gate("convex", attention, memory, logits, 1.0).gate, torch.ones(3, 4, dtype=torch.float64))
    assert torch.equal(mag_gate("convex", attention, memory, logits, 0.0).gate, logits.sigmoid())
