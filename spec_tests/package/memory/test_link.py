"""Links are the mirror maps that `memory.link` names: minimisers, inverses, and finite where the formula is not."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas_ref.memory.link import Link, LinkName, canonical, linked, shrunk
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array

C, LEVEL = 1.7, 0.3
EXACT = {
    "identity": Link(),
    "lq 3": Link("lq", 3.0),
    "lq 4": Link("lq", 4.0),
    "softmax": Link("softmax", scale=C),
    "sigmoid": Link("sigmoid"),
    "soft_threshold": Link("soft_threshold", level=LEVEL),
}


def entropy(w: Array) -> float:
    return float((w * np.log(w)).sum())


def conjugate_norm(q: float) -> Callable[[Array], float]:
    dual = q / (q - 1.0)
    return lambda w: 0.5 * float((np.abs(w) ** dual).sum() ** (2.0 / dual))


REGULARISERS: dict[str, Callable[[Array], float]] = {
    "identity": lambda w: 0.5 * float((w * w).sum()),
    "lq 3": conjugate_norm(3.0),
    "lq 4": conjugate_norm(4.0),
    "softmax": entropy,
    "sigmoid": lambda w: entropy(w) + entropy(1.0 - w),
    "soft_threshold": lambda w: 0.5 * float((w * w).sum()) + LEVEL * float(np.abs(w).sum()),
}


def dual(seed: int = 1, *shape: int) -> Array:
    return generator(seed).standard_normal(shape or (3, 4))


def value(link: Link, a: Array) -> Array:
    return linked(link, torch.tensor(a)).numpy()


def perturbed(name: str, w: Array, rng: np.random.Generator) -> Array:
    """Return another point of the domain: rows that sum to c, entries between 0 and 1, or anything."""
    scale = 10.0 ** rng.uniform(-4.0, 0.0)
    if name == "softmax":
        moved = w * np.exp(scale * rng.standard_normal(w.shape))
        return np.asarray(C * moved / moved.sum(-1, keepdims=True))
    if name == "sigmoid":
        return np.asarray(1.0 / (1.0 + (1.0 / w - 1.0) * np.exp(scale * rng.standard_normal(w.shape))))
    return np.asarray(w + scale * rng.standard_normal(w.shape))


@pytest.mark.parametrize("name", EXACT)
def test_no_perturbation_of_w_lowers_the_regularised_linear_objective(name: str) -> None:
    """W = argmin R(W) - <A, W>. Kills: an exponent for its conjugate; a softmax over columns or the whole matrix."""
    a, rng = dual(), generator(4)
    w = value(EXACT[name], a)

    def objective(other: Array) -> float:
        return REGULARISERS[name](other) - float((a * other).sum())

    least = objective(w)
    assert all(objective(perturbed(name, w, rng)) >= least - 1e-12 for _ in range(1000))


INVERSES: dict[str, Callable[[Array], Array]] = {
    "lq 3": lambda w: np.sign(w) * np.abs(w) ** 0.5 * (np.abs(w) ** 1.5).sum() ** (2.0 / 1.5 - 1.0),
    "lq 4": lambda w: np.sign(w) * np.abs(w) ** (1.0 / 3.0) * (np.abs(w) ** (4.0 / 3.0)).sum() ** 0.5,
    "softmax": lambda w: np.log(w),
    "sigmoid": lambda w: np.log(w / (1.0 - w)),
}


@pytest.mark.parametrize("name", INVERSES)
def test_the_link_of_the_slope_of_its_regulariser_is_where_one_began(name: str) -> None:
    w = value(EXACT[name], dual(2))
    assert np.abs(value(EXACT[name], INVERSES[name](w)) - w).max() < 1e-14


@pytest.mark.parametrize("link", [Link(), Link("lq", 2.0), Link("soft_threshold", level=0.0)], ids=lambda x: x.name)
def test_a_link_that_does_nothing_is_the_identity_to_the_last_bit(link: Link) -> None:
    assert np.array_equal(value(link, dual()), dual())
    assert torch.equal(slope(link, torch.zeros(3, 4)), torch.tensor(dual(7, 3, 4)).float())


def test_the_exact_map_has_degree_one_and_the_printed_quotient_shrinks_what_grows() -> None:
    a = dual()
    exact, printed = Link("lq", 4.0), Link("lq_printed", 4.0)
    np.testing.assert_allclose(value(exact, 2.0 * a), 2.0 * value(exact, a), rtol=1e-14)
    np.testing.assert_allclose(value(printed, 2.0 * a), 0.5 * value(printed, a), rtol=1e-14)


def slope(link: Link, a: Tensor) -> Tensor:
    leaf = a.clone().requires_grad_()
    weight = torch.tensor(dual(7, *a.shape)).to(a.dtype)
    return torch.autograd.grad((linked(link, leaf) * weight).sum(), leaf)[0]


@pytest.mark.parametrize("q", [2.0, 2.5, 4.0, 8.0])
@pytest.mark.parametrize("name", ["lq", "lq_printed"])
def test_matrices_and_entries_of_zero_give_finite_weights_and_slopes(name: LinkName, q: float) -> None:
    """Kills: a quotient of zeros; a power of zero that is differentiated; a mask that multiplies by zero."""
    link = Link(name, q)
    partly = torch.tensor(dual(), dtype=torch.float32)
    partly[0] = 0.0
    a = torch.stack([torch.zeros(3, 4), partly, 1e-30 * partly, 1e25 * partly])
    w = linked(link, a)
    assert torch.isfinite(w).all()
    assert torch.isfinite(slope(link, a)).all()
    assert torch.equal(w[:, 0], torch.zeros(4, 4))
    if name == "lq":
        # Of degree one, in any unit and beside any other matrix.
        torch.testing.assert_close(w[2] * 1e30, w[1])


@pytest.mark.parametrize("name", [*EXACT, "lq_printed"])
def test_the_slope_of_the_link_is_that_of_its_values(name: str) -> None:
    link = EXACT.get(name, Link("lq_printed", 3.0))
    a, h = torch.tensor(dual(3)), 1e-6
    move = torch.tensor(dual(9))
    numeric = (linked(link, a + h * move) - linked(link, a - h * move)) / (2.0 * h)
    weight = torch.tensor(dual(7))
    assert float((slope(link, a) * move).sum() - (numeric * weight).sum()) == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("q", [2.5, 3.0, 4.0])
def test_a_matrix_of_one_entry_is_its_own_weight_and_so_is_its_slope(q: float) -> None:
    """Kills: a norm of one whose slope is left out."""
    a = torch.zeros(3, 2, dtype=torch.float64)
    a[1, 1] = -0.7
    leaf = a.clone().requires_grad_()
    weight = linked(Link("lq", q), leaf)
    (slope_of_entry,) = torch.autograd.grad(weight[1, 1], leaf)
    torch.testing.assert_close(weight, a, rtol=1e-15, atol=0.0)
    assert slope_of_entry[1, 1].item() == pytest.approx(1.0, rel=1e-14)


def test_each_matrix_has_a_link_of_its_own() -> None:
    """Kills: a norm or softmax over rows of the batch or heads."""
    a = dual(1, 2, 3, 3, 4)
    for link in (*EXACT.values(), Link("lq_printed", 3.0)):
        alone = np.stack([[value(link, a[b, h]) for h in range(3)] for b in range(2)])
        np.testing.assert_allclose(value(link, a), alone, rtol=1e-14)


def test_the_canonical_state_gives_the_same_weights_and_forgets_constants_of_rows() -> None:
    link, a = EXACT["softmax"], torch.tensor(dual())
    shifted = a + torch.tensor(dual(5, 3, 1))
    np.testing.assert_allclose(canonical(link, a), canonical(link, shifted), atol=1e-14)
    np.testing.assert_allclose(canonical(link, a), np.log(value(link, a.numpy()) / C), atol=1e-14)
    assert canonical(Link("sigmoid"), a) is a


def test_shrinking_has_no_slope_inside_and_is_the_proximal_map() -> None:
    x = torch.tensor([-2.0, -0.2, 0.0, 0.2, 2.0], dtype=torch.float64, requires_grad=True)
    found = shrunk(x, torch.tensor(0.5, dtype=torch.float64))
    np.testing.assert_allclose(found.detach(), [-1.5, 0.0, 0.0, 0.0, 1.5])
    assert torch.autograd.grad(found.sum(), x)[0].tolist() == [1.0, 0.0, 0.0, 0.0, 1.0]
