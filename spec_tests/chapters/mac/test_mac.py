"""docs/spec/mac.md, beside loops that go row by row and token by token."""

import numpy as np
import pytest

from spec_tests.chapters.mac.calls import MAC, call, config, unmarked
from spec_tests.contract.by_loops import assert_answers, assert_results, assert_slopes
from spec_tests.contract.driver import assert_close, assert_same, precisions, run, run_with_gradients
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.properties import assert_any_split_agrees, assert_causal, assert_rows_independent, unchanged
from spec_tests.drawing.inputs import generator, splits
from spec_tests.port import Port
from spec_tests.tally import where_declared

KINDS = ("causal", "previous_segment", "learned")
STATE = tuple(tensor.name for tensor in OPERATIONS[MAC].outputs if tensor.name != "y")
IDLE = {
    "causal": ("row_asked",),
    "previous_segment": ("row_keys", "row_values"),
    "learned": ("row_keys", "row_values", "row_tail", "row_asked"),
}
FOR_THE_MEMORY = (
    *("memory_projection", "convolution", "gates_weight", "gates_bias", "coefficients", "initial", "log_gain"),
    *("row_projection", "row_convolution", "memory_input", "memory_input_norm", "weights", "segment_weights"),
)
OUTSIDE = ("x", "norm", "attention_projection", "persistent", "row_output", "row_norm", "gate_weight", "output")


@pytest.mark.spec("MAC-1", "MAC-2", "MAC-3")
def test_every_kind_of_rows_is_asked_for_and_seen_as_the_loops_say(port: Port) -> None:
    for numerics in precisions(port):
        for number, kind in enumerate(KINDS):
            with where_declared():
                assert_results(port, MAC, numerics, config(rows=kind), call(1 + number, (5, 2)))


@pytest.mark.long
@pytest.mark.spec("MAC-4", "MAC-5")
def test_the_memory_writes_what_attention_returns_and_both_are_joined(port: Port) -> None:
    for numerics in precisions(port):
        for gate in ("source", "convex", "gated_attention", "product"):
            with where_declared():
                assert_results(port, MAC, numerics, config(gate=gate), call(4))
        for kind in KINDS[:2]:
            with where_declared():
                assert_results(port, MAC, numerics, config(write_from="input", rows=kind), call(5))


@pytest.mark.spec("MAC-6")
def test_segments_count_from_the_document_and_a_border_moves_them(port: Port) -> None:
    for numerics in precisions(port):
        for span in (1, 2, 3):
            with where_declared():
                chunk = 1 if span == 3 else span
                assert_results(
                    port, MAC, numerics, config(chunk=chunk), call(6 + span, (span, 2 * span + 1), span=span)
                )


@pytest.mark.long
@pytest.mark.spec("MAC-7")
def test_any_split_gives_the_same_results(port: Port) -> None:
    for numerics in precisions(port):
        for kind in KINDS:
            with where_declared():
                assert_any_split_agrees(port, MAC, numerics, call(10), splits(9, 6), **config(rows=kind))


@pytest.mark.spec("MAC-7")
def test_places_that_a_segment_does_not_have_hold_zeros(port: Port) -> None:
    # Row 0 ends with the third token of its document; row 1 with the last of a segment.
    inputs = call(11, (5, 9), time=7)
    for numerics in precisions(port):
        for kind in KINDS:
            with where_declared():
                result = run(port, MAC, numerics, inputs, **config(rows=kind))
                assert_answers(result, config(rows=kind))
                assert result["position"].tolist() == [3, 16]
                for name in ("cache_keys", "cache_values", "row_keys", "row_values"):
                    if name not in IDLE[kind]:
                        assert not result[name][1].any(), f"{name} outlives its segment in {numerics}"
                for name in IDLE[kind]:
                    assert not result[name][0].any(), f"{name} outlives its document in {numerics}"
                    assert_same(result[name][1], result.inputs[name][1], f"{name}, which is not used, in {numerics}")


@pytest.mark.long
@pytest.mark.spec("MAC-8")
def test_a_reset_is_a_fresh_start_in_every_part(port: Port) -> None:
    for numerics in precisions(port):
        for kind in KINDS:
            with where_declared():
                inputs = unmarked(call(12))
                inputs["reset"][:, 0] = 1
                start = np.broadcast_to(inputs["initial"], inputs["weights"].shape)
                held = dict.fromkeys(("weights", "anchor", "segment_weights"), start)
                fresh = {name: 0 * inputs[name] for name in STATE} | held
                running = run(port, MAC, numerics, inputs, **config(rows=kind))
                begun = run(port, MAC, numerics, {**inputs, **fresh}, **config(rows=kind))
                for name in (*STATE, "y"):
                    assert_close(running[name], begun[name], unchanged(begun, name), f"{name} after a reset")
                assert_answers(running, config(rows=kind))
                plain = run(port, MAC, numerics, unmarked(inputs), **config(rows=kind))
                assert not np.allclose(plain["y"], running["y"]), "the marks are not read"


@pytest.mark.long
@pytest.mark.spec("MAC-9")
def test_no_token_of_a_segment_depends_on_a_later_one(port: Port) -> None:
    # Row 0 enters at the second token of a segment, row 1 at the third: every place of one is a border of the future.
    for numerics in precisions(port):
        for kind in KINDS:
            with where_declared():
                assert_causal(port, MAC, numerics, unmarked(call(13)), tuple(range(1, 9)), **config(rows=kind))


@pytest.mark.spec("MAC-9")
def test_rows_do_not_count(port: Port) -> None:
    for numerics in precisions(port):
        for kind in KINDS:
            with where_declared():
                assert_rows_independent(port, MAC, numerics, unmarked(call(14)), **config(rows=kind))


@pytest.mark.long
@pytest.mark.spec("MAC-10")
def test_the_gradients_are_those_of_the_block(port: Port) -> None:
    small = {"time": 6, "heads": 2, "values": 2, "key": 2, "tokens": 1, "learned": 2}
    for numerics in precisions(port):
        for number, kind in enumerate(KINDS):
            source = ("attention", "input")[number % 2]
            gate = ("convex", "product", "source")[number]
            with where_declared():
                given = config(rows=kind, write_from=source, gate=gate)
                assert_slopes(port, MAC, numerics, given, call(25 + number, (5,), **small), apart=True)


@pytest.mark.long
@pytest.mark.spec("MAC-10")
def test_detached_reads_teach_the_memory_nothing_and_everything_else_as_before(port: Port) -> None:
    inputs = unmarked(call(18, (5,), time=6))
    inputs["reset"][0, 4] = 1
    weight = {"y": generator(19).standard_normal(inputs["x"].shape)}
    for numerics in precisions(port):
        for kind in KINDS:
            with where_declared():
                given = config(rows=kind)
                full = run_with_gradients(port, MAC, numerics, inputs, weight, **given)
                result = run_with_gradients(port, MAC, numerics, inputs, weight, **{**given, "inner_grad": "detached"})
                assert_close(
                    result["y"], full["y"], unchanged(full, "y"), "y with and without a gradient through the reads"
                )
                assert_answers(full, given)
                asked = "row_queries" if kind == "learned" else "row_projection"
                unused = ("row_projection", "row_convolution")
                for name in (*(n for n in FOR_THE_MEMORY if kind != "learned" or n not in unused), asked):
                    assert not result[f"grad.{name}"].any(), f"detached, and yet {name} has a gradient in {numerics}"
                    assert full[f"grad.{name}"].any(), f"{name} has no gradient in {numerics}"
                for name in OUTSIDE:
                    assert result[f"grad.{name}"].any(), f"detached, and so {name} has no gradient in {numerics}"
