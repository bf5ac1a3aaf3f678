"""docs/spec/lm.md, against the blocks' oracle and by what must not matter."""

from collections.abc import Mapping

import numpy as np
import pytest

from spec_tests.chapters.blocks.calls import block_config, case
from spec_tests.chapters.lm.oracle import lm_forward
from spec_tests.contract.driver import assert_close, precisions, run
from spec_tests.contract.properties import assert_any_split_agrees
from spec_tests.drawing.inputs import splits
from spec_tests.oracle.sums import FORWARD
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.tally import where_declared

LM = Op.LM_FORWARD
CONFIG = block_config(span=2)
REACH = 2 * ((2 - 1) + (3 - 1)) + 1
"""Tokens that attention and convolutions of both layers reach back together, and one more."""


def exact(numerics: Numerics) -> float:
    """Return what rounding may do to a logit: parameters, state and logits are float32 in `bf16_io` too."""
    return 1e-12 if numerics is Numerics.F64 else 2e-5


@pytest.mark.spec("LM-1")
def test_logits_are_products_of_the_normalised_state_with_the_embedding(port: Port) -> None:
    for numerics in precisions(port):
        for config in (CONFIG, block_config("titans", "mlp", gate="source")):
            with where_declared():
                result = run(port, LM, numerics, case(LM, config, 1), **config)
                result.assert_close("logits", lm_forward(config, result.inputs, FORWARD)["logits"], factor=8.0)


@pytest.mark.spec("LM-2")
def test_a_layer_is_a_block_and_a_gated_feed_forward(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            result = run(port, LM, numerics, case(LM, CONFIG, 2), **CONFIG)
            answer = lm_forward(CONFIG, result.inputs, FORWARD)
            for name in ("1.cache_keys", "1.tail", "1.weights", "logits"):
                result.assert_close(name, answer[name], factor=8.0)


def changed(inputs: Mapping[str, Array], row: slice, time: slice) -> dict[str, Array]:
    tokens = inputs["tokens"].copy()
    tokens[row, time] = (tokens[row, time] + 3) % 7
    return {**inputs, "tokens": tokens}


@pytest.mark.spec("LM-3")
def test_no_logit_depends_on_a_later_token_or_another_row(port: Port) -> None:
    inputs = case(LM, CONFIG, 3)
    for numerics in precisions(port):
        with where_declared():
            before = run(port, LM, numerics, inputs, **CONFIG)["logits"]
            for t in (2, 6):
                with where_declared():
                    after = run(port, LM, numerics, changed(inputs, slice(None), slice(t, None)), **CONFIG)["logits"]
                    assert_close(after[:, :t], before[:, :t], exact(numerics), f"logits before a change at {t}")
                    assert not np.allclose(after[:, t], before[:, t]), f"the token at {t} does not count"
            other = run(port, LM, numerics, changed(inputs, slice(0, 1), slice(None)), **CONFIG)["logits"]
            assert_close(other[1], before[1], exact(numerics), "logits of a row whose neighbour changed")
            assert not np.allclose(other[0], before[0]), "the row's own tokens do not count"


@pytest.mark.spec("LM-4")
def test_a_token_beyond_the_reach_of_attention_and_convolutions_still_counts(port: Port) -> None:
    inputs = case(LM, CONFIG, 4, time=REACH + 3)
    for numerics in precisions(port):
        with where_declared():
            result = run(port, LM, numerics, inputs, **CONFIG)
            result.assert_close("logits", lm_forward(CONFIG, result.inputs, FORWARD)["logits"], factor=8.0)
            before = result["logits"]
            after = run(port, LM, numerics, changed(inputs, slice(1, 2), slice(0, 1)), **CONFIG)["logits"]
            moved = np.abs(after[1, REACH:] - before[1, REACH:]).max(-1) / np.abs(before[1]).max()
            assert (moved > 10 * exact(numerics)).all(), f"no memory beyond {REACH} tokens: {moved} in {numerics}"


@pytest.mark.long
@pytest.mark.spec("LM-5")
def test_any_split_gives_the_same_logits(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_any_split_agrees(port, LM, numerics, case(LM, CONFIG, 5), splits(9, 6), **CONFIG)


@pytest.mark.spec("LM-6")
def test_a_document_gets_the_logits_that_it_gets_alone(port: Port) -> None:
    inputs = case(LM, CONFIG, 7)
    for numerics in precisions(port):
        with where_declared():
            among = run(port, LM, numerics, inputs, **CONFIG)["logits"]
            part = {name: inputs[name][:, 4:] for name in ("tokens", "reset")}
            alone = run(port, LM, numerics, {**inputs, **part}, **CONFIG)["logits"]
            assert_close(alone[0], among[0, 4:], exact(numerics), "logits of a document that begins in the call")
            assert not np.allclose(alone[1], among[1, 4:]), "the state before the call does not count"
