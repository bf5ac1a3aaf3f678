"""docs/spec/marks.md: long rows with many marks, wide heads and many rows, beside the loops; every gradient."""

from collections.abc import Iterator

import numpy as np
import pytest

from spec_tests.chapters.blocks.calls import block_config
from spec_tests.chapters.blocks.covering import call, lengths
from spec_tests.chapters.marks.calls import config, without
from spec_tests.chapters.marks.oracle import mag_block_marks
from spec_tests.chapters.marks.test_marks import MARKS
from spec_tests.contract.by_loops import assert_results, assert_slopes
from spec_tests.contract.driver import precisions, run
from spec_tests.oracle.sums import FORWARD
from spec_tests.port import Array, Numerics, Op, Port, round_to_bf16
from spec_tests.tally import where_declared


def sized(seed: int, context: tuple[int, ...], position: tuple[int, ...], **sizes: int) -> dict[str, Array]:
    """Return a call without marks; the model's other lengths are those of its heads."""
    shape = {"heads": 1, "key": 2, "values": 2, "degree": 1, "window": 2, "kernel": 2} | {
        name: size for name, size in sizes.items() if name not in ("time", "tokens")
    }
    block = block_config(span=3)
    inputs = call(Op.MAG_BLOCK, block, seed, position, time=sizes["time"], tokens=1, **lengths(block, **shape))
    nothing = np.zeros((len(position), sizes["time"]), dtype=np.int64)
    marks = {"reset_context": nothing, "reset_memory": nothing.copy()}
    return {**without(inputs, "reset"), "context": np.array(context), **marks}


def long_row() -> dict[str, Array]:
    """Return a row of seventy tokens, eighteen wide: a dozen contexts and a dozen memories, at other tokens."""
    inputs = sized(33, (7,), (5,), time=70, key=18, values=18)
    inputs["reset_context"][0, 3::5] = 1
    inputs["reset_memory"][0, 2::6] = 1
    return inputs


def questions() -> Iterator[dict[str, Array]]:
    """Yield a long row, a memory handed on from beyond position 100,000, many heads and rows, one head, two degrees."""
    yield long_row()
    far = sized(32, (1, 100_000), (100_003, 2), time=5)
    far["reset_context"][0, 2] = far["reset_memory"][1, 3] = 1
    yield far
    many = sized(33, (1, 9, 3, 0, 2, 5), (4, 2, 7, 1, 0, 6), time=3, heads=5)
    many["reset_context"][::2, 1] = many["reset_memory"][1::2, 2] = 1
    yield many
    # Rows of one head, each in a chunk that began before the call.
    yield sized(35, (6, 1, 3), (5, 9, 13), time=3, key=4, values=4)
    two = sized(34, (3,), (6,), time=6, degree=2, window=3, heads=2, values=4)
    two["reset_context"][0, 2] = two["reset_memory"][0, 4] = 1
    yield two


@pytest.mark.spec("MARK-1", "MARK-2", "MARK-3", "MARK-4")
def test_long_wide_and_distant_rows_are_those_of_the_loops(port: Port) -> None:
    for numerics in precisions(port):
        for inputs in questions():
            with where_declared():
                assert_results(port, MARKS, numerics, config(), inputs)


@pytest.mark.spec("MARK-8")
def test_no_gradient_stops_between_two_blocks_of_a_call(port: Port) -> None:
    inputs = long_row()
    # One memory from end to end, under a dozen contexts.
    inputs["reset_memory"] = 0 * inputs["reset_memory"]
    for numerics in precisions(port):
        with where_declared():
            assert_slopes(port, MARKS, numerics, config(), inputs, apart=False)


@pytest.mark.spec("MARK-8")
def test_every_row_head_and_age_gets_its_own_gradient(port: Port) -> None:
    # Each row has a chunk before it that has begun, whose anchor the errors of three tokens are taken at.
    inputs = sized(41, (4, 2, 0), (9, 5, 13), time=3, heads=2, degree=2, window=3, kernel=3)
    for numerics in precisions(port):
        with where_declared():
            assert_slopes(port, MARKS, numerics, config(projection="frobenius_tanh"), inputs, apart=True)


@pytest.mark.spec("CALL-4")
def test_a_gain_enters_in_full_where_activations_are_rounded(port: Port) -> None:
    inputs = sized(61, (3, 4), (5, 9), time=24, key=4, values=4)
    # The logarithm of a large gain has few bits after the point in bfloat16.
    inputs |= {"log_gain": 2.0 + 0.3 * inputs["log_gain"]}
    asked = config(projection="frobenius_tanh")
    for numerics in precisions(port, Numerics.BF16_IO):
        with where_declared():
            result = run(port, MARKS, numerics, inputs, **asked)
            alike = np.mean(result["y"] == round_to_bf16(mag_block_marks(asked, result.inputs, FORWARD)["y"]))
            assert alike >= 0.98, f"{alike:.0%} of y are the bfloat16 number nearest to what the full gain gives"
