"""docs/spec/memory_step.md, one token at a time: each write against the loop and against closed forms."""

from functools import partial

import numpy as np
import pytest

from spec_tests.chapters.memory_step.calls import (
    ARCHITECTURES,
    FEATURES,
    HEADS,
    HIDDEN,
    ORTHOGONALISED,
    VALUES,
    assert_loop,
    case,
    column,
    expected_step,
    fresh,
    matrix,
    orthogonalised,
    plain,
    rule,
    token,
)
from spec_tests.chapters.memory_step.declared import declared_case, rules_of
from spec_tests.chapters.memory_step.loop import STATE, Config, Inputs, Oracle, gelu, predict, unpack
from spec_tests.chapters.newton_schulz.oracle import iteration
from spec_tests.contract.domain import length, settled
from spec_tests.contract.driver import assert_close, precisions, run
from spec_tests.contract.properties import unchanged
from spec_tests.drawing.inputs import central_difference, generator, orthonormal
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.tally import where_declared

STEP = Op.MEMORY_STEP


def exact(numerics: Numerics, double: float, single: float) -> float:
    """Return the tolerance of a property that holds up to rounding."""
    return double if numerics is Numerics.F64 else single


def errors(inputs: Inputs, at: str = "weights") -> Array:
    """Return the gradient of 1/2 ||W k - v||^2 for every row and head of a matrix memory."""
    error = np.einsum("bhvf,bhf->bhv", matrix(inputs[at]), inputs["keys"]) - inputs["values"]
    return np.asarray(np.einsum("bhv,bhf->bhvf", error, inputs["keys"]).reshape(inputs[at].shape))


@pytest.mark.spec("MEM-1")
def test_a_token_is_reset_then_anchored_then_written_then_read(port: Port) -> None:
    for numerics in precisions(port):
        for config in rules_of(port):
            with where_declared():
                inputs = declared_case(port, config, time=6, document=2)
                ours: dict[str, Array] = {}
                theirs: dict[str, Array] = {}
                for t in range(6):
                    result = run(port, STEP, numerics, token(inputs, t) | theirs, **config)
                    given = dict(result.inputs) | ours
                    wanted = expected_step(config, given)
                    for output, value in wanted.items():
                        result.assert_close(output, value)
                    ours = {output: wanted[output] for output in STATE}
                    theirs = {output: result[output] for output in STATE}


@pytest.mark.spec("MEM-3")
def test_the_read_is_the_value_of_the_memory_that_is_returned(port: Port) -> None:
    for numerics in precisions(port):
        for features in (FEATURES, VALUES - 1):
            for architecture in ARCHITECTURES:
                with where_declared():
                    config = settled(port.declare(), rule("omega", architecture), keep=("read", "architecture"))
                    window = length(port.declare(), "window", 3)
                    inputs = token(case(config, time=1, window=window, features=features, seed=2), 0)
                    result = run(port, STEP, numerics, inputs, **config)
                    reads = read_back(architecture, result["weights"], result.inputs["queries"], features)
                    result.assert_close("reads", reads)


def read_back(architecture: str, packed: Array, queries: Array, features: int) -> Array:
    """Return M(q) for every row and head."""
    reads = np.zeros((*queries.shape[:2], VALUES))
    for row, head in np.ndindex(*reads.shape[:2]):
        weights = unpack(architecture, packed[row, head], features, VALUES)
        reads[row, head] = predict(architecture, weights, queries[row, head])
    return reads


@pytest.mark.spec("MEM-3")
def test_gelu_is_not_an_approximation(port: Port) -> None:
    """Terms of forty cancel in every read: what the usual approximation is off by, 0.0005 each, is what is left."""
    config = rule("omega", "mlp", chunk=1)
    inputs = plain(config, step_size=0.0, momentum=0.0, retention=1.0)
    inputs["queries"] = 2.0 * inputs["queries"]
    outer, inner = np.split(inputs["weights"], [VALUES * HIDDEN], axis=-1)
    outer = 40.0 * outer.reshape(2, HEADS, VALUES, HIDDEN)
    for row, head in np.ndindex(2, HEADS):
        hidden = gelu(inner[row, head].reshape(HIDDEN, FEATURES) @ inputs["queries"][row, head])
        largest = int(np.abs(hidden).argmax())
        surplus = outer[row, head] @ hidden + inputs["queries"][row, head, :VALUES]
        outer[row, head, :, largest] -= (surplus - 0.05) / hidden[largest]
    inputs["weights"] = np.concatenate([outer.reshape(2, HEADS, -1), inner], axis=-1)
    for numerics in precisions(port):
        with where_declared():
            result = run(port, STEP, numerics, inputs, **config)
            reads = read_back("mlp", result["weights"], result.inputs["queries"], FEATURES)
            assert np.abs(reads).max() < 0.1
            assert_close(result["reads"], reads, exact(numerics, 1e-9, 2e-2), f"reads that nearly cancel in {numerics}")


@pytest.mark.spec("RULE-1")
def test_titans_omega_and_delta_write_as_the_table_says(port: Port) -> None:
    for numerics in precisions(port):
        for name in ("titans", "omega", "delta"):
            for scale in (1.0, 2.0**66, 2.0**-66):
                with where_declared():
                    config = rule(name, chunk=1)
                    inputs = plain(config)
                    # The linear rules know no size: 1e20 times the values and the state write 1e20 times as much.
                    for sized in ("values", "weights", "momentum", "anchor"):
                        inputs[sized] = scale * inputs[sized]
                    result = run(port, STEP, numerics, inputs, **config)
                    x = result.inputs
                    gradient = x["window_weights"] * errors(x)
                    eta, kept = column(x["step_size"]), column(x["momentum_decay"]) * x["momentum"]
                    momentum = {"titans": kept - eta * gradient, "omega": kept + gradient, "delta": gradient}[name]
                    write = momentum if name == "titans" else -eta * momentum
                    result.assert_close("momentum", momentum)
                    result.assert_close("weights", column(x["retention"]) * x["weights"] + write)


@pytest.mark.spec("RULE-2")
def test_atlas_orthogonalises_the_momentum_and_scales_it_by_the_step(port: Port) -> None:
    for numerics in precisions(port):
        for coefficients in ("quintic", "cubic", "polar_express"):
            with where_declared():
                config = rule("atlas", chunk=1, coefficients=coefficients, newton_schulz_steps=3)
                result = run(port, STEP, numerics, plain(config), **config)
                x = result.inputs
                momentum = column(x["momentum_decay"]) * x["momentum"] + x["window_weights"] * errors(x)
                write = column(x["step_size"]) * orthogonalised(config, momentum)
                result.assert_close("weights", column(x["retention"]) * x["weights"] - write)


@pytest.mark.spec("RULE-3")
def test_atlas_appendix_has_the_step_inside_where_a_common_factor_cancels(port: Port) -> None:
    config = rule("atlas_appendix", chunk=1, newton_schulz_steps=3)
    for numerics in precisions(port):
        with where_declared():
            result = run(port, STEP, numerics, plain(config), **config)
            x = result.inputs
            gradient = column(x["step_size"]) * x["window_weights"] * errors(x)
            momentum = column(x["momentum_decay"]) * x["momentum"] - gradient
            result.assert_close("momentum", momentum)
            result.assert_close("weights", column(x["retention"]) * x["weights"] + orthogonalised(config, momentum))
            inputs = plain(config, momentum=0.0)
            once = run(port, STEP, numerics, inputs, **config)
            sevenfold = run(port, STEP, numerics, {**inputs, "step_size": 7.0 * inputs["step_size"]}, **config)
            assert_close(sevenfold["weights"], once["weights"], 1e-4, "weights under a sevenfold step")


@pytest.mark.spec("RULE-4")
def test_delta_ignores_the_momentum_gate(port: Port) -> None:
    for numerics in precisions(port):
        for scale in ("literal", "mass"):
            with where_declared():
                config = rule("delta", step_scale=scale)
                inputs = plain(config)
                other = run(
                    port, STEP, numerics, {**inputs, "momentum_decay": 1.0 - inputs["momentum_decay"]}, **config
                )
                same = run(port, STEP, numerics, inputs, **config)
                for name in same.outputs:
                    assert_close(other[name], same[name], unchanged(same, name), f"{name} under another momentum gate")
                assert_loop(same, config)


@pytest.mark.spec("RULE-5")
def test_the_first_write_descends(port: Port) -> None:
    for numerics in precisions(port):
        for config in rules_of(port):
            with where_declared():
                inputs = fresh(plain(config, retention=1.0, window_weights=1.0))
                result = run(port, STEP, numerics, inputs, **config)
                change = result["weights"] - result.inputs["weights"]
                for row, head in np.ndindex(change.shape[:2]):
                    cell = Oracle(config).load(inputs, row, head)
                    parts = Oracle(config).pair_gradient(cell, inputs["keys"][row, head], inputs["values"][row, head])
                    gradient = np.concatenate([part.ravel() for part in parts])
                    assert change[row, head] @ -gradient > 0, f"{config['rule']} {config['architecture']} climbs"


def inner_loss(config: Config, key: Array, value: Array, packed: Array) -> float:
    architecture = str(config["architecture"])
    error = predict(architecture, unpack(architecture, packed, FEATURES, VALUES), key) - value
    return float(config["loss_scale"]) * float(error @ error)


@pytest.mark.spec("RULE-6")
def test_the_gradient_is_that_of_the_loss_in_every_matrix(port: Port) -> None:
    for architecture in ARCHITECTURES:
        for scale in (0.5, 1.0):
            config = rule("omega", architecture, chunk=1, loss_scale=scale)
            inputs = plain(config, momentum_decay=0.0, step_size=1.0, retention=1.0, window_weights=1.0)
            numerical = np.zeros_like(inputs["weights"])
            for row, head in np.ndindex(2, HEADS):
                loss = partial(inner_loss, config, inputs["keys"][row, head], inputs["values"][row, head])
                numerical[row, head] = central_difference(loss, inputs["weights"][row, head])
            for numerics in precisions(port):
                with where_declared():
                    result = run(port, STEP, numerics, inputs, **config)
                    tolerance, where = (
                        exact(numerics, 1e-8, 1e-4),
                        f"{architecture} at loss scale {scale} in {numerics}",
                    )
                    assert_close(result["momentum"], numerical, tolerance, f"gradient of {where}")
                    assert_close(inputs["weights"] - result["weights"], numerical, tolerance, f"write of {where}")


@pytest.mark.spec("RULE-7")
def test_orthonormal_keys_are_recalled_exactly(port: Port) -> None:
    basis = orthonormal(4, FEATURES, seed=3)
    values = generator(4).standard_normal((4, 2, HEADS, VALUES))
    for numerics in precisions(port):
        for name in ("omega", "delta"):
            with where_declared():
                config = rule(name, chunk=1)
                gates = {"retention": 1.0, "momentum_decay": 0.0, "step_size": 1.0, "window_weights": 1.0}
                state = fresh(plain(config, initial=0.0, **gates))
                sums = np.zeros_like(state["weights"])
                for key, value in zip(basis, values, strict=True):
                    state["keys"], state["values"] = np.broadcast_to(key, state["keys"].shape), value
                    result = run(port, STEP, numerics, {**state, "queries": state["keys"]}, **config)
                    result.assert_close("reads", result.inputs["values"])
                    sums += np.einsum("bhv,f->bhvf", result.inputs["values"], key).reshape(sums.shape)
                    state |= {output: result[output] for output in STATE}
                result.assert_close("weights", sums)


@pytest.mark.spec("RULE-11")
def test_newton_schulz_acts_on_each_matrix_by_itself_and_keeps_zero(port: Port) -> None:
    for numerics in precisions(port):
        for name in ORTHOGONALISED:
            with where_declared():
                config = rule(name, "mlp", chunk=1, coefficients="quintic", newton_schulz_steps=2)
                inputs = plain(config, retention=0.0, momentum_decay=1.0, step_size=1.0, window_weights=0.0)
                inputs["momentum"][0, 0] = 0.0
                inputs["momentum"][1, 1] *= 50.0
                result = run(port, STEP, numerics, inputs, **config)
                assert not result["weights"][0, 0].any(), f"{name}: zero momentum writes something"
                for row, head in ((0, 1), (1, 0), (1, 1)):
                    both = result.inputs["momentum"][row, head], result["weights"][row, head]
                    matrices = (unpack("mlp", packed, FEATURES, VALUES) for packed in both)
                    for part, written in zip(*matrices, strict=True):
                        wanted = (1.0 if name == "atlas_appendix" else -1.0) * iteration(part, "quintic", 2)
                        assert_close(written, wanted, result.tolerance("weights"), f"{name}: write of one matrix")
