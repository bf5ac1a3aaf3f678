"""The suite's own machinery: it accepts what the contract allows and refuses everything else."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from atlas_ref.errors import UserError
from spec_tests.chapters.memory_step.calls import forms
from spec_tests.contract.driver import Result, run, run_with_gradients
from spec_tests.contract.operations import OPERATIONS
from spec_tests.drawing.inputs import generator, positions, splits
from spec_tests.port import Array, Declaration, Numerics, Op, Scalar, UnsupportedError, round_to_bf16
from spec_tests.ports.reference import ReferencePort
from spec_tests.process.load import load_port

Answer = Callable[[Mapping[str, Array]], Mapping[str, Array]]


SOUND = ReferencePort().declare()


class StubPort:
    """A port of one operation with a given answer and declaration (the reference's, unless another is given)."""

    def __init__(self, answer: Answer, declaration: Declaration | None = None) -> None:
        self._answer = answer
        self._declaration = declaration or SOUND

    def declare(self) -> Declaration:
        return self._declaration

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        return self._answer(inputs)


X = generator(1).standard_normal((3, 4))


def ask(port: StubPort, numerics: Numerics = Numerics.F32) -> Result:
    return run(port, Op.L2_NORMALIZE, numerics, {"x": X}, eps=0.1)


def unsupported(_: Mapping[str, Array]) -> Mapping[str, Array]:
    raise UnsupportedError("not today", capability="l2_normalize")


def changing_its_input(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    y = inputs["x"] + 0.0
    inputs["x"][0] = 0.0
    return {"y": y}


WRONG: dict[str, tuple[Answer, str]] = {
    "missing output": (lambda _: {}, "expected"),
    "unknown output": (lambda x: {"y": x["x"], "z": x["x"]}, "expected"),
    "wrong rank": (lambda x: {"y": x["x"][0]}, "shape"),
    "wrong length": (lambda x: {"y": x["x"][:, :-1]}, "along dim"),
    "wrong type": (lambda x: {"y": x["x"].astype(np.float64)}, "float64"),
    "changed input": (changing_its_input, "changed its input"),
    "unsupported though declared": (unsupported, "unsupported"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_misshapen_answer_fails(case: str) -> None:
    answer, words = WRONG[case]
    with pytest.raises(AssertionError, match=words):
        ask(StubPort(answer))


def test_activations_must_be_bfloat16_values_in_bf16_io() -> None:
    with pytest.raises(AssertionError, match="not bfloat16"):
        ask(StubPort(lambda x: {"y": x["x"] * np.float32(1.001)}), Numerics.BF16_IO)
    ask(StubPort(lambda x: {"y": x["x"]}), Numerics.BF16_IO)


def test_what_a_port_declares_absent_is_skipped_with_its_reason() -> None:
    with pytest.raises(pytest.skip.Exception, match="no operation"):
        ask(StubPort(unsupported, replace(SOUND, operations=frozenset())))
    with pytest.raises(pytest.skip.Exception, match="precision f32"):
        ask(StubPort(unsupported, replace(SOUND, numerics=(Numerics.F64,))))
    port = StubPort(unsupported, replace(SOUND, capabilities=frozenset()))
    with pytest.raises(pytest.skip.Exception, match="does not declare 'gradients'"):
        run_with_gradients(port, Op.L2_NORMALIZE, Numerics.F32, {"x": X}, {"y": X}, eps=0.1)


def test_a_port_with_one_form_of_the_memory_is_asked_for_that_one() -> None:
    one = StubPort(unsupported, replace(SOUND, operations=frozenset({Op.MEMORY_SCAN}), numerics=(Numerics.F32,)))
    assert list(forms(one)) == [(Op.MEMORY_SCAN, Numerics.F32)]
    with pytest.raises(pytest.skip.Exception, match="declares no operation of memory_scan, memory_chunked"):
        list(forms(StubPort(unsupported, replace(SOUND, operations=frozenset({Op.MEMORY_STEP})))))


def test_a_value_that_is_not_finite_never_counts_as_close() -> None:
    result = ask(StubPort(lambda x: {"y": np.full_like(x["x"], np.nan)}))
    with pytest.raises(AssertionError, match="not finite"):
        result.assert_close("y", np.zeros_like(X))


def test_rounding_to_bfloat16_agrees_with_torch() -> None:
    x = (generator(2).standard_normal(10_000) * 10.0 ** generator(3).integers(-30, 30, 10_000)).astype(np.float32)
    np.testing.assert_array_equal(round_to_bf16(x), torch.tensor(x).bfloat16().float().numpy())


def test_every_row_of_the_table_is_implemented_by_the_reference() -> None:
    assert set(OPERATIONS) == ReferencePort().declare().operations
    assert all(row.op == op for op, row in OPERATIONS.items())


@pytest.mark.parametrize("name", ["nowhere", "nowhere:Port", "spec_tests.ports.reference:Nothing"])
def test_a_port_that_cannot_be_loaded_is_a_usage_error_that_names_it(name: str) -> None:
    with pytest.raises(UserError, match=f"--port {name}"):
        load_port(name)


def test_a_port_whose_program_is_not_here_says_so_and_leaves_its_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    name = "spec_tests.ports.javascript:NodePort"
    with pytest.raises(UserError, match=rf"^--port {name}: .*; node was not found\.$"):
        load_port(name)


@pytest.mark.parametrize("time", [0, 1, 2, 30])
def test_splits_cover_the_sequence_in_order(time: int) -> None:
    for pieces in splits(time, seed=4):
        assert [t for piece in pieces for t in range(time)[piece]] == list(range(time))


def test_rows_of_positions_begin_at_different_places_and_count_up_between_starts() -> None:
    position = positions(4, 60, seed=5)
    assert position[0, 0] == 0
    assert len(set(position[:, 0])) > 2
    steps = position[:, 1:] - position[:, :-1]
    assert ((steps == 1) | (position[:, 1:] == 0)).all()
    assert (position[:, 1:] == 0).any()
