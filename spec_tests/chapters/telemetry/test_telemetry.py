"""docs/spec/telemetry.md, against lists of numbers and closed forms."""

import numpy as np
import pytest

from spec_tests.chapters.telemetry.cases import told
from spec_tests.chapters.telemetry.oracle import answer
from spec_tests.contract.driver import assert_close, precisions, run
from spec_tests.port import Op, Port
from spec_tests.tally import where_declared

TELEMETRY = Op.MEMORY_TELEMETRY
CALLS = ((0, (3, 4, 2, 3, 5)), (6, (4, 4, 1, 5, 3)), (3, (2, 70, 5, 9, 20)), (0, (6, 3, 2, 5, 5)))
"""Shard lengths, and rows, tokens, heads, values and features."""


@pytest.mark.spec("TELE-1", "TELE-2", "TELE-3", "TELE-4", "TELE-5", "TELE-6")
def test_what_is_told_is_what_lists_of_numbers_give(port: Port) -> None:
    for numerics in precisions(port):
        for seed, (shard, shape) in enumerate(CALLS):
            with where_declared():
                inputs = told(2620 + 10 * seed, *shape)
                # The least of the gates is a number that no narrower format holds.
                inputs["raw"] = np.where(inputs["raw"] == 0.03125, 0.0301, inputs["raw"])
                found = run(port, TELEMETRY, numerics, inputs, shard=shard)
                for name, wanted in answer(dict(found.inputs), shard).items():
                    found.assert_close(name, wanted)


@pytest.mark.spec("TELE-1", "TELE-3")
def test_sizes_are_those_of_matrices_of_one_number(port: Port) -> None:
    """Matrices of the number a throughout have the norm a sqrt(values features); of two rows, the root of the mean."""
    for numerics in precisions(port):
        with where_declared():
            inputs = told(2650, 2)
            inputs["after"] = np.ones_like(inputs["after"]) * np.array([3.0, 4.0]).reshape(2, 1, 1, 1)
            inputs["reads"] = np.full_like(inputs["reads"], 0.5)
            found = run(port, TELEMETRY, numerics, inputs, shard=0)
            assert_close(found["memory_norm"], np.asarray(np.sqrt(15 * 12.5)), 1e-5, "memory_norm")
            assert_close(found["read_norm"], np.asarray(0.5 * np.sqrt(6)), 1e-5, "read_norm")


@pytest.mark.spec("TELE-2")
def test_what_a_memory_held_before_a_document_or_shard_of_the_call_is_not_looked_at(port: Port) -> None:
    for numerics in precisions(port):
        for shard, rows in ((0, [0]), (6, [0, 1])):
            with where_declared():
                inputs = told(2660)
                sound = run(port, TELEMETRY, numerics, inputs, shard=shard)
                plain = sound["update"]
                sound.assert_close("update", answer(dict(sound.inputs), shard)["update"])
                for garbage in (np.inf, np.nan):
                    spoilt = inputs["before"].copy()
                    spoilt[rows] = garbage
                    found = run(port, TELEMETRY, numerics, {**inputs, "before": spoilt}, shard=shard)
                    assert_close(found["update"], plain, 1e-6, f"update with {garbage} before")


@pytest.mark.spec("TELE-4")
def test_one_gate_alone_has_a_deviation_of_zero(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            inputs = told(2670, 1, 1)
            inputs |= {"raw": np.full((1, 1, 1), 0.25), "floor": np.full((1, 1), 0.5)}
            found = run(port, TELEMETRY, numerics, inputs, shard=0)
            for name, wanted in {
                "gate_mean": 0.625,
                "raw_mean": 0.25,
                "gate_deviation": 0.0,
                "raw_largest": 0.25,
            }.items():
                assert_close(found[name], np.asarray(wanted), 1e-6, name)
