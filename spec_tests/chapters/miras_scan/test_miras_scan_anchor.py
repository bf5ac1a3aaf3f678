"""docs/spec/miras_scan.md: reads of the memory that a chunk began with, and the curvature behind a LayerNorm."""

from typing import Final

import numpy as np
import pytest

from spec_tests.chapters.memory_step.calls import FEATURES, VALUES
from spec_tests.chapters.memory_step.loop import gelu, gelu_slope, identity_part
from spec_tests.chapters.miras_scan.architectures import unpacked
from spec_tests.chapters.miras_scan.calls import SHAPE, axes, both_forms, case, one_write, tokens
from spec_tests.contract.by_loops import assert_answers
from spec_tests.contract.driver import Result, run
from spec_tests.port import Array, Port, Scalar
from spec_tests.tally import where_declared

CHUNK: Final = 4
BEGIN: Final = (3, 1)
"""The first tokens with which chunks begin in the call of `in_chunks`, a row each."""
ASKED: Final = ((6, 3), (8, 5))
"""In the same call, a token of each row in the middle of the call and the one that its chunk begins with."""
ANCHORED: Final[tuple[dict[str, Scalar], ...]] = (
    {"rule": "titans", "architecture": "mlp"},
    {"rule": "omega", "link": "softmax"},
    {"rule": "omega", "gate_axis": "rows", "link": "lq"},
    {"rule": "atlas", "architecture": "linear_norm", "step_scale": "mass"},
    {"rule": "omega", "retention": "proximal_elastic"},
)


def in_chunks(config: dict[str, Scalar]) -> dict[str, Array]:
    """Return nine tokens that go on in two documents, one token and three tokens after the beginning of a chunk."""
    inputs = case(config, time=9, window=3, seed=17, document=100)
    return inputs | {"position": np.array([1, 3]) + 2 * CHUNK, "reset": 0 * inputs["reset"]}


@pytest.mark.spec("RULE-25")
def test_anchor_reads_the_memory_before_the_first_token_of_the_chunk(port: Port) -> None:
    """Asked with `pre` at the first token of its chunk, a query finds what it finds at its own place with `anchor`.

    A chunk that began in an earlier call has the first anchor: the state says which.
    """
    for op, numerics in both_forms(port):
        for point in ANCHORED:
            with where_declared():
                config = axes(**point, chunk=CHUNK)
                inputs = in_chunks(config)
                found = run(port, op, numerics, inputs, **{**config, "read": "anchor"})
                assert_answers(found, {**config, "read": "anchor"})
                for row, (t, first) in enumerate(ASKED):
                    queries = np.array(inputs["queries"])
                    queries[:, first] = queries[:, t]
                    call = tokens({**inputs, "queries": queries}, slice(first + 1))
                    wanted = run(port, op, numerics, call, **{**config, "read": "pre"})
                    error = np.abs(found["reads"][row, t] - wanted["reads"][row, first]).max()
                    assert error <= 4.0 * found.tolerance("reads"), f"{op} {point} row {row}: apart by {error:.3g}"


@pytest.mark.spec("RULE-25")
def test_anchor_reads_in_the_middle_of_a_chunk_what_the_state_brings(port: Port) -> None:
    """Before the chunk ends, reads are those of a call whose memory is the anchor and whose tokens write nothing."""
    for op, numerics in both_forms(port):
        for point in ANCHORED:
            with where_declared():
                config = {**axes(**point, chunk=CHUNK), "read": "anchor"}
                inputs = in_chunks(config)
                found = run(port, op, numerics, inputs, **config)
                assert_answers(found, config)
                still = {"momentum": 0.0, "step_size": 0.0, "window_weights": 0.0}
                kept = {name: value + np.zeros_like(inputs[name]) for name, value in still.items()}
                nothing = inputs | kept | {"weights": inputs["anchor"], "retention": np.ones_like(inputs["retention"])}
                wanted = run(port, op, numerics, nothing, **{**config, "read": "post", "rule": "omega"})
                for row, begin in enumerate(BEGIN):
                    error = np.abs(found["reads"] - wanted["reads"])[row, :begin].max()
                    assert error <= 4.0 * found.tolerance("reads"), f"{op} {point} row {row}: apart by {error:.3g}"


@pytest.mark.spec("RULE-25")
def test_anchor_reads_the_initial_memory_after_a_reset(port: Port) -> None:
    for op, numerics in both_forms(port):
        for point in ANCHORED:
            with where_declared():
                config = {**axes(**point, chunk=CHUNK), "read": "anchor"}
                inputs = in_chunks(config)
                inputs["reset"][:, 5] = 1
                after = run(port, op, numerics, inputs, **config)
                assert_answers(after, config)
                fresh = tokens(inputs, slice(5, 8)) | {"position": np.array([0, 0])}
                wanted = run(port, op, numerics, fresh, **config)
                error = np.abs(after["reads"][:, 5:8] - wanted["reads"]).max()
                assert error <= 4.0 * after.tolerance("reads"), f"{op} {point}: apart by {error:.3g}"
                # And of three tokens in a chunk of four, each reads M_0.
                others = run(port, op, numerics, {**fresh, "values": fresh["values"] + 1.0}, **config)
                error = np.abs(others["reads"] - wanted["reads"]).max()
                assert error <= after.tolerance("reads"), (
                    f"{op} {point}: what the chunk wrote moves reads by {error:.3g}"
                )


@pytest.mark.spec("RULE-26")
def test_behind_a_layer_norm_a_gradient_is_divided_by_its_curvature(port: Port) -> None:
    for op, numerics in both_forms(port):
        for architecture in ("linear_norm", "mlp_norm"):
            for scale in (1.0, 0.02):
                with where_declared():
                    config = axes(architecture=architecture, rule="omega", chunk=1)
                    inputs = one_write(config, momentum_decay=0.0, window_weights=1.0)
                    # The least parameters make the smallest deviation, and the largest curvature.
                    inputs["weights"] = scale * inputs["weights"]
                    printed = run(port, op, numerics, inputs, **config)
                    divided = run(port, op, numerics, inputs, **{**config, "step_scale": "mass"})
                    assert_divided(architecture, printed, divided, f"{op} {architecture} times {scale} in {numerics}")


def assert_divided(architecture: str, printed: Result, divided: Result, what: str) -> None:
    """Assert that S is that of printed steps over max(1, kappa); no kappa is below 1."""
    x = printed.inputs
    assert printed["momentum"].any(), f"{what}: nothing is written"
    for row, head in np.ndindex(*SHAPE[:2]):
        weights = unpacked(architecture, x["weights"][row, head], FEATURES, VALUES)
        kappa = curvature(weights, x["keys"][row, 0, head], x["values"][row, 0, head])
        assert kappa > 1.0
        wanted = printed["momentum"][row, head] / kappa
        error = np.abs(divided["momentum"][row, head] - wanted).max()
        assert error <= 10.0 * printed.tolerance("momentum") / min(kappa, 10.0), f"{what}: S is apart by {error:.3g}"


def curvature(weights: list[Array], key: Array, value: Array) -> float:
    """Return kappa from the sentence."""
    square, turning, hidden = float(key @ key), 0.0, key
    if len(weights) > 1:
        slopes = gelu_slope(weights[1] @ key)
        hidden = gelu(weights[1] @ key)
        square = float(hidden @ hidden + (key @ key) * (slopes**2 @ (weights[0] ** 2).sum(0)))
        turning = 1.13 * float(np.linalg.norm(key))
    z = weights[0] @ hidden
    s = float(np.sqrt(z.var() + 1e-6))
    miss = float(np.linalg.norm(identity_part(key, len(z)) + (z - z.mean()) / s - value))
    return float(square * (1.0 + 2.0 * miss / np.sqrt(3.0 * len(z))) / s**2 + turning * miss / s)
