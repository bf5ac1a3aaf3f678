"""The block where a document has just begun, and what learns nothing where reads are constants."""

import numpy as np
import pytest

from spec_tests.chapters.blocks.calls import block_config, case
from spec_tests.chapters.blocks.covering import call, lengths
from spec_tests.chapters.blocks.oracle import mag_block
from spec_tests.chapters.blocks.test_blocks import BLOCK, STATE
from spec_tests.contract.driver import precisions, run, run_with_gradients
from spec_tests.drawing.inputs import generator
from spec_tests.oracle.sums import FORWARD
from spec_tests.port import Numerics, Port, round_to_bf16
from spec_tests.tally import where_declared

CARRIED = ("log_gain", "tail", "carry", "weights", "momentum", "anchor", "window_keys", "window_values")


@pytest.mark.spec("BLOCK-7")
def test_a_document_that_has_just_begun_leaves_zeros_in_the_places_it_does_not_have(port: Port) -> None:
    config = block_config(span=6)
    whole = case(BLOCK, config, 16)
    # Row 0 begins a document with the last token of this call.
    inputs = {**whole, "x": whole["x"][:, :5], "reset": whole["reset"][:, :5]}
    assert inputs["reset"][0, 4] == 1
    for numerics in precisions(port):
        with where_declared():
            result = run(port, BLOCK, numerics, inputs, **config)
            answer = mag_block(config, result.inputs, FORWARD)
            for name in STATE:
                result.assert_close(name, answer[name], factor=4.0)
            for name in ("cache_keys", "cache_values", "tail"):
                assert not result[name][0, :-1].any(), f"{name} holds what the document does not have in {numerics}"


@pytest.mark.spec("BLOCK-10")
def test_detached_reads_teach_gains_and_carried_state_nothing(port: Port) -> None:
    config = block_config(projection="frobenius_tanh")
    inputs = case(BLOCK, config, 17, batch=1, time=3)
    inputs["reset"] = 0 * inputs["reset"]
    # One token past a chunk's start, so that the anchor is one that came with the call.
    inputs["position"] = np.full_like(inputs["position"], 9)
    weight = {"y": generator(18).standard_normal(inputs["x"].shape)}
    for numerics in precisions(port):
        with where_declared():
            full = run_with_gradients(port, BLOCK, numerics, inputs, weight, **config)
            result = run_with_gradients(port, BLOCK, numerics, inputs, weight, **{**config, "inner_grad": "detached"})
            result.assert_close("y", mag_block(config, result.inputs, FORWARD)["y"], factor=4.0)
            for name in CARRIED:
                assert full[f"grad.{name}"].any(), f"{name} has no gradient in {numerics}"
                assert not result[f"grad.{name}"].any(), f"detached, and yet {name} has a gradient in {numerics}"


@pytest.mark.spec("CALL-4")
def test_a_gain_enters_in_full_where_activations_are_rounded(port: Port) -> None:
    config = block_config(projection="frobenius_tanh", basis="elementwise")
    sizes = lengths(config, heads=1, key=4, values=4, degree=1, window=2, kernel=2)
    inputs = call(BLOCK, config, 61, (5, 9), time=24, **sizes)
    # The logarithm of a large gain has few bits after the point in bfloat16.
    inputs |= {"reset": 0 * inputs["reset"], "log_gain": 2.0 + 0.3 * inputs["log_gain"]}
    for numerics in precisions(port, Numerics.BF16_IO):
        with where_declared():
            result = run(port, BLOCK, numerics, inputs, **config)
            alike = np.mean(result["y"] == round_to_bf16(mag_block(config, result.inputs, FORWARD)["y"]))
            assert alike >= 0.98, f"{alike:.0%} of y are the bfloat16 number nearest to what the full gain gives"
