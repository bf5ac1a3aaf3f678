"""docs/spec/miras_scan.md over calls of every size: long ones from far, wide memories, many heads and rows."""

from collections.abc import Iterator
from typing import Final

import pytest

from spec_tests.chapters.memory_step.covering import LONG, MANY, SQUARE, WIDE, long_call, many_heads, sized_call
from spec_tests.chapters.miras_scan.calls import assert_loop, axes, both_forms, with_axes
from spec_tests.contract.driver import run
from spec_tests.contract.properties import representable
from spec_tests.port import Array, Op, Port, Scalar
from spec_tests.tally import where_declared

SEED: Final = 900


def questions() -> Iterator[tuple[dict[str, Scalar], dict[str, Array]]]:
    """Yield a configuration and a call of each size."""
    long = axes(chunk=16, step_scale="mass", link="softmax", bias="huber_norm", gate_axis="rows")
    yield long, with_axes(long, long_call(long, SEED, LONG), SEED)
    wide = axes(rule="titans", architecture="mlp", chunk=2, bias="robust", link="lq")
    yield wide, with_axes(wide, sized_call(wide, SEED, WIDE, (7,), ((0, 3),)), SEED, hidden=WIDE.hidden)
    many = axes(chunk=2, bias="lp", gate_axis="columns", link="soft_threshold")
    yield many, with_axes(many, many_heads(many, SEED), SEED, hidden=MANY.hidden)
    square = axes(rule="omega", chunk=2, gate_axis="columns")
    # No document begins, so that nothing that came in is forgotten.
    yield square, with_axes(square, sized_call(square, SEED, SQUARE, resets=()), SEED)


@pytest.mark.spec("MEM-2", "MEM-8", "RULE-20")
def test_calls_of_every_size_give_what_the_loop_gives(port: Port) -> None:
    for op, numerics in both_forms(port):
        for config, inputs in questions():
            with where_declared():
                result = run(port, op, numerics, representable(Op.MIRAS_SCAN, inputs), **config)
                assert_loop(result, config, factor=10.0)
