"""docs/spec/link.md: what is read of a dual state, where the write goes, and what of it is returned."""

from typing import Final

import numpy as np
import pytest

from spec_tests.chapters.link.links import LINKS, linked
from spec_tests.chapters.memory_step.loop import Config, Inputs
from spec_tests.chapters.miras_scan.calls import SHAPE, axes, both_forms, case, expected, one_write, small_case, tokens
from spec_tests.contract.driver import Result, assert_close, precisions, run, run_with_gradients
from spec_tests.contract.properties import unchanged
from spec_tests.drawing.inputs import generator
from spec_tests.oracle import complex_step
from spec_tests.oracle.sums import ANY_ORDER
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.tally import where_declared

SCAN: Final = Op.MIRAS_SCAN
SLOPES: Final = {Numerics.F64: 1e-10, Numerics.F32: 1e-3, Numerics.BF16_IO: 3e-2}


def images(config: Config, packed: Array) -> Array:
    """Return link(A) of every row and head of a matrix memory."""
    flat = packed.reshape(-1, *SHAPE[2:])
    return np.stack([linked(config, dual, ANY_ORDER) for dual in flat]).reshape(*packed.shape[:-1], *SHAPE[2:])


def unwritten(config: Config, dual: Array) -> dict[str, Array]:
    """Return a call of one token that keeps A as it is given and reads it."""
    nothing = {"step_size": 0.0, "retention": 1.0, "momentum_decay": 0.0}
    return one_write(config, **nothing) | {"weights": np.asarray(dual, dtype=np.float32).astype(np.float64)}


def read_matrix(port: Port, numerics: Numerics, config: Config, dual: Array) -> Array:
    """Return what a memory with state A is as a matrix, by reads of every direction."""

    def column(direction: Array) -> Array:
        inputs = unwritten(config, dual)
        inputs["queries"] = np.broadcast_to(direction, inputs["queries"].shape)
        return run(port, SCAN, numerics, inputs, **config)["reads"][:, 0]

    return np.stack([column(direction) for direction in np.eye(SHAPE[3])], axis=-1)


def state(seed: int, scale: float = 1.0) -> Array:
    return scale * generator(seed).standard_normal((*SHAPE[:2], SHAPE[2] * SHAPE[3]))


@pytest.mark.spec("LINK-1")
def test_recurrences_act_on_the_dual_and_reads_and_gradients_see_its_image(port: Port) -> None:
    for numerics in precisions(port):
        for link in LINKS:
            with where_declared():
                config = axes(rule="delta", chunk=1, link=link)
                result = run(port, SCAN, numerics, one_write(config), **config)
                x = result.inputs
                found = images(config, x["weights"])
                error = np.einsum("bhvf,bhf->bhv", found, x["keys"][:, 0]) - x["values"][:, 0]
                gamma, alpha, eta = (x[name][:, 0] for name in ("window_weights", "retention", "step_size"))
                gradient = np.einsum("bhv,bhf->bhvf", gamma * error, x["keys"][:, 0]).reshape(x["weights"].shape)
                dual = alpha * x["weights"] - eta[..., None] * gradient
                assert_same_image(result, config, dual)
                reads = np.einsum("bhvf,bhf->bhv", images(config, dual), x["queries"][:, 0])
                result.assert_close("reads", reads[:, None])


def assert_same_image(result: Result, config: Config, dual: Array) -> None:
    """Assert that the returned state is a dual, or, for `softmax`, one with the same rows up to a constant."""
    found = result["weights"]
    if config["link"] == "softmax":
        found, dual = (x.reshape(SHAPE) - x.reshape(SHAPE).mean(-1, keepdims=True) for x in (found, dual))
    assert_close(found, dual, result.tolerance("weights"), f"state under {config['link']} in {result.numerics}")


@pytest.mark.spec("LINK-2")
def test_a_write_is_not_taken_through_the_link_and_derivatives_of_the_whole_are(port: Port) -> None:
    for numerics in precisions(port):
        for link in ("lq", "sigmoid", "soft_threshold"):
            with where_declared():
                config = axes(rule="delta", chunk=1, link=link)
                result = run(port, SCAN, numerics, one_write(config, retention=1.0), **config)
                change = (result["weights"] - result.inputs["weights"]).reshape(SHAPE)
                # The gradient of one pair by W is e k^T: along the key in every row, which no link leaves so.
                key = result.inputs["keys"][:, 0]
                along = np.einsum("bhvf,bhf->bhv", change, key) / (key**2).sum(-1, keepdims=True)
                rows = np.einsum("bhv,bhf->bhvf", along, key)
                assert_close(change, rows, 10.0 * result.tolerance("weights"), f"write under {link} in {numerics}")
        for link in LINKS:
            with where_declared():
                config = axes(chunk=2, link=link)
                assert_slopes(port, numerics, config, small_case(config, 3))


def assert_slopes(port: Port, numerics: Numerics, config: Config, inputs: Inputs) -> None:
    """Assert the derivatives by state, M_0, keys and step along random directions."""
    rng = generator(5)
    cotangents = {
        name: rng.standard_normal(inputs[like].shape) for name, like in (("reads", "values"), ("weights",) * 2)
    }
    result = run_with_gradients(port, SCAN, numerics, inputs, cotangents, **config)
    for name in ("weights", "initial", "anchor", "keys", "step_size"):
        found = result[f"grad.{name}"]
        direction = rng.standard_normal(found.shape)
        wanted = complex_step.along(lambda x: expected(config, x), inputs, {name: direction}, cotangents)
        allowed = SLOPES[numerics] * np.sqrt((found**2).sum() * (direction**2).sum()) + 1e-12
        actual = float((found * direction).sum())
        assert abs(actual - wanted) <= allowed, (
            f"{config['link']} slope by {name} in {numerics}: {actual}, not {wanted}"
        )


@pytest.mark.spec("LINK-3")
def test_lq_is_a_mirror_map_of_degree_one_and_lq_printed_is_its_quotient(port: Port) -> None:
    for numerics in precisions(port):
        exact = 10.0 * SLOPES[numerics] if numerics is not Numerics.F64 else 1e-10
        for q in (2.5, 4.0):
            with where_declared():
                config = axes(link="lq", link_exponent=q)
                dual = state(6)
                found = read_matrix(port, numerics, config, dual)
                twice = read_matrix(port, numerics, config, 2.0 * dual)
                assert_close(twice, 2.0 * found, exact, f"lq of twice the state, q = {q}")
                # The map back is that of the conjugate exponent: 1/q + 1/q' = 1.
                conjugate = q / (q - 1.0)
                norms = (np.abs(found) ** conjugate).sum((-2, -1), keepdims=True) ** (1.0 / conjugate)
                back = np.sign(found) * np.abs(found) ** (conjugate - 1.0) / norms ** (conjugate - 2.0)
                given = unwritten(config, dual)["weights"].reshape(SHAPE)
                assert_close(back, given, exact, f"the way back from lq, q = {q}")
            with where_declared():
                config = axes(link="lq_printed", link_exponent=q)
                given = unwritten(config, dual)["weights"].reshape(SHAPE)
                norms = (np.abs(given) ** q).sum((-2, -1), keepdims=True) ** (1.0 / q)
                found = read_matrix(port, numerics, config, dual)
                assert_close(found, given / norms ** (q - 2.0), exact, f"lq_printed, q = {q}")
                small = read_matrix(port, numerics, config, 2.0**-20 * dual)
                assert_close(small, 2.0**-20 * given / 1e-3 ** (q - 2.0), exact, f"lq_printed near zero, q = {q}")


@pytest.mark.spec("LINK-4")
def test_rows_of_a_softmax_memory_sum_to_its_scale_and_its_state_is_a_logarithm(port: Port) -> None:
    for op, numerics in both_forms(port):
        with where_declared():
            config = axes(link="softmax", link_scale=3.0)
            inputs = case(config, time=6, seed=7)
            result = run(port, op, numerics, inputs, **config)
            for name in ("weights", "anchor"):
                rows = np.log(np.exp(result[name].reshape(SHAPE)).sum(-1))
                bound = {Numerics.F64: 1e-12}.get(numerics, 1e-5)
                assert np.abs(rows).max() < bound, f"{op} {name}: log-sum-exp of a row is {np.abs(rows).max():.3g}"
            found = read_matrix(port, numerics, config, state(8))
            assert_close(found.sum(-1), np.full(SHAPE[:3], 3.0), SLOPES[numerics], f"sums of rows in {numerics}")
            assert (found > 0.0).all(), "an entry of a softmax is not above zero"
            result.assert_close("weights", expected(config, result.inputs)["weights"])


@pytest.mark.spec("LINK-5")
def test_soft_threshold_shrinks_what_is_read_and_leaves_the_state(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            config = axes(link="soft_threshold", level=0.25)
            dual = state(9)
            given = unwritten(config, dual)
            result = run(port, SCAN, numerics, given, **config)
            result.assert_close("weights", given["weights"])
            matrix = given["weights"].reshape(SHAPE)
            wanted = np.where(np.abs(matrix) > 0.25, matrix - 0.25 * np.sign(matrix), 0.0)
            found = read_matrix(port, numerics, config, dual)
            assert_close(found, wanted, SLOPES[numerics], f"what is read in {numerics}")
            assert not found[wanted == 0.0].any(), "an entry inside the threshold is read"


@pytest.mark.spec("LINK-6")
def test_softmax_with_a_chunk_of_one_token_is_memora_as_printed(port: Port) -> None:
    for op, numerics in both_forms(port):
        with where_declared():
            config = axes(rule="delta", chunk=1, link="softmax", link_scale=2.0)
            inputs = case(config, time=6, window=1, seed=10, document=100)
            inputs["position"] = np.array([3, 9])
            result = run(port, op, numerics, inputs, **config)
            result.assert_close("reads", memora(result.inputs, 2.0))


def memora(x: Inputs, scale: float) -> Array:
    """Return the reads of W_t = c softmax(alpha log W_{t-1} - eta g), as Eq. 27 has it: no state but W."""

    def normalised(logits: Array) -> Array:
        grown = np.exp(logits - logits.max(-1, keepdims=True))
        return np.asarray(scale * grown / grown.sum(-1, keepdims=True))

    memory = normalised(x["weights"].reshape(SHAPE))
    reads = np.zeros(x["values"].shape)
    for t in range(x["keys"].shape[1]):
        key, value, query = (x[name][:, t] for name in ("keys", "values", "queries"))
        alpha, gamma = x["retention"][:, t, :, :, None], x["window_weights"][:, t, :, :, None]
        error = np.einsum("bhvf,bhf->bhv", memory, key) - value
        gradient = gamma * np.einsum("bhv,bhf->bhvf", error, key)
        memory = normalised(alpha * np.log(memory) - x["step_size"][:, t, :, None, None] * gradient)
        reads[:, t] = np.einsum("bhvf,bhf->bhv", memory, query)
    return reads


@pytest.mark.spec("LINK-7")
def test_a_state_of_zeros_is_read_as_zero_and_has_finite_derivatives_under_lq(port: Port) -> None:
    for op, numerics in both_forms(port):
        with where_declared():
            config = axes(link="lq", chunk=2)
            zeros = {name: 0.0 * one_write(config)[name] for name in ("weights", "anchor", "initial", "momentum")}
            still = run(port, op, numerics, {**one_write(config, step_size=0.0), **zeros}, **config)
            assert not still["reads"].any(), f"{op} reads something of a state of zeros in {numerics}"
            inputs = {**one_write(config), **zeros}
            cotangents = {"reads": generator(11).standard_normal(inputs["values"].shape)}
            result = run_with_gradients(port, op, numerics, inputs, cotangents, **config)
            for name, value in result.outputs.items():
                assert np.isfinite(value).all(), f"{op} {name} of a state of zeros is not finite in {numerics}"
            result.assert_close("weights", expected(config, result.inputs)["weights"])


@pytest.mark.spec("LINK-8")
def test_a_reset_restores_the_dual_so_that_the_memory_is_its_image(port: Port) -> None:
    for op, numerics in both_forms(port):
        for link in LINKS:
            with where_declared():
                config = axes(link=link, read="pre")
                inputs = case(config, time=5, seed=12)
                inputs |= {"position": np.array([4, 9]), "reset": 0 * inputs["reset"]}
                inputs["reset"][:, 3] = 1
                result = run(port, op, numerics, inputs, **config)
                initial = np.broadcast_to(images(config, inputs["initial"][None]), SHAPE)
                reads = np.einsum("bhvf,bhf->bhv", initial, result.inputs["queries"][:, 3])
                assert_close(result["reads"][:, 3], reads, result.tolerance("reads"), f"{op} {link} after a reset")


@pytest.mark.spec("LINK-9")
def test_sigmoid_is_that_of_each_entry_and_every_link_acts_on_one_matrix(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            config = axes(link="sigmoid")
            dual = state(13, 3.0)
            dual[0, 0, 0], dual[1, 0, 1] = 120.0, -120.0
            given = unwritten(config, dual)["weights"].reshape(SHAPE)
            found = read_matrix(port, numerics, config, dual)
            assert_close(found, 1.0 / (1.0 + np.exp(-given)), SLOPES[numerics], f"sigmoid in {numerics}")
        for link in LINKS:
            with where_declared():
                config = axes(architecture="mlp", link=link)
                inputs = tokens(case(config, time=2, seed=14), slice(0, 1))
                whole = run(port, SCAN, numerics, inputs, **config)
                whole.assert_close("reads", expected(config, whole.inputs)["reads"])
                longer = {**inputs, "weights": inputs["weights"].copy(), "momentum": inputs["momentum"].copy()}
                longer["weights"][1, 1] *= 7.0
                other = run(port, SCAN, numerics, longer, **config)
                same = unchanged(whole, "reads")
                assert_close(other["reads"][0], whole["reads"][0], same, f"{link}: reads of another row")
                assert_close(other["reads"][1, :, 0], whole["reads"][1, :, 0], same, f"{link}: reads of another head")
