"""Python ports behind the protocol: every line answered, nothing else on standard output, and the reference as itself.

Each test names the fault that was put into the server by hand and that it caught.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spec_tests.chapters.memory_step import test_memory_step
from spec_tests.chapters.newton_schulz import test_newton_schulz
from spec_tests.chapters.normalize import test_normalize
from spec_tests.contract.driver import ask, prepare
from spec_tests.contract.operations import OPERATIONS
from spec_tests.package.warm.start import warm_python
from spec_tests.port import PROFILES, Declaration, Numerics, Op, Port, Scalar, UnsupportedError
from spec_tests.ports.reference import ReferencePort
from spec_tests.process.client import ProcessPort
from spec_tests.process.example import ExamplePort
from spec_tests.process.files import read_arrays, write_arrays
from spec_tests.process.protocol import Bye, Hello, RunRequest, parse_hello_reply, schema
from spec_tests.process.scripts import Noisy, X, asked
from spec_tests.process.server import serve
from spec_tests.process.tiny import tiny_config, tiny_inputs


def talk(port: Port, *lines: bytes) -> list[dict[str, Any]]:
    """Return the answers to some lines."""
    stdout = io.BytesIO()
    serve(port, io.BytesIO(b"".join(lines)), stdout)
    return [json.loads(line) for line in stdout.getvalue().splitlines()]


def request(folder: Path, op: str = Op.L2_NORMALIZE, numerics: Numerics = Numerics.F64, **config: Scalar) -> bytes:
    """Return the line that asks for a case on X."""
    given, answer = folder / "in", folder / "out"
    write_arrays(given, {"x": X})
    line = RunRequest(id="7", op=op, config=config, numerics=numerics, taps=(), given=str(given), answer=str(answer))
    return line.line()


def test_a_case_is_answered_with_its_id_and_its_outputs(tmp_path: Path) -> None:
    """Kills: another id; outputs that are not those of the port; a line too many."""
    hello, run = talk(ExamplePort(), Hello().line(), request(tmp_path, eps=0.5), Bye().line(), Hello().line())
    assert parse_hello_reply(json.dumps(hello).encode()) == ExamplePort().declare()
    assert run == {"id": "7", "status": "ok"}
    outputs = read_arrays(tmp_path / "out", 10_000)
    np.testing.assert_allclose(outputs["y"], X / np.sqrt((X * X).sum(-1, keepdims=True) + 0.25), rtol=1e-14)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"op": "no_such_op"}, "no operation 'no_such_op'"),
        ({"op": "newton_schulz"}, "no operation 'newton_schulz'"),
        ({"eps": 0.5, "epsilon": 0.5}, "no configuration key 'epsilon'"),
        ({"eps": "small"}, "'eps' cannot be 'small'"),
        ({"eps": True}, "'eps' cannot be True"),
    ],
)
def test_what_table_or_port_do_not_know_is_unsupported(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    """Kills: an operation, key or value passed on to a port that might guess."""
    (reply,) = talk(ExamplePort(), request(tmp_path, **changes))
    assert reply["status"] == "unsupported"
    assert words in reply["reason"]
    assert not (tmp_path / "out").exists()


def test_a_name_that_a_key_does_not_take_is_unsupported(tmp_path: Path) -> None:
    """Kills: any string accepted where the table has a closed list."""
    (reply,) = talk(ReferencePort(), request(tmp_path, op="newton_schulz", steps=5, coefficients="septic"))
    assert reply["status"] == "unsupported"
    (reply,) = talk(ReferencePort(), request(tmp_path, op="newton_schulz", steps=5.5, coefficients="quintic"))
    assert reply["status"] == "unsupported"


def test_a_precision_that_is_not_declared_is_unsupported(tmp_path: Path) -> None:
    """Kills: a run in a precision that the port never promised."""

    class Single(ExamplePort):
        def declare(self) -> Declaration:
            return Declaration(**{**vars(super().declare()), "numerics": (Numerics.F32,)})

    (reply,) = talk(Single(), request(tmp_path, eps=0.5))
    assert (reply["status"], reply["capability"]) == ("unsupported", "f64")


def test_an_error_of_the_port_and_a_line_that_is_none_are_answered_and_the_next_case_runs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Kills: a server that ends at the first exception; a traceback that is lost; a port's print among the answers."""
    lines = (request(tmp_path, eps=13.0), b"hello\n", b'{"cmd": "dance"}\n', request(tmp_path, eps=0.5))
    raised, stray, unknown, sound = talk(Noisy(), *lines)
    assert raised == {"id": "7", "status": "error", "message": "ZeroDivisionError: thirteen"}
    assert (stray["status"], unknown["status"], sound["status"]) == ("error", "error", "ok")
    printed = capfd.readouterr()
    assert "Traceback" in printed.err
    assert printed.err.count("from python") == 2
    assert "from python" not in printed.out


def test_what_a_port_prints_goes_to_standard_error_at_every_level() -> None:
    """Kills: standard output left to print or to descriptor 1, which the client would take for a stray line."""
    command = f"{warm_python()} -m spec_tests.process.server spec_tests.process.scripts:Noisy"
    with ProcessPort(command, timeout=20.0) as port:
        asked(port)
        with pytest.raises(AssertionError, match=r"(?s)thirteen.*from python\n.*from below"):
            asked(port, 13.0)
        asked(port)
        assert port.bye() == 0


@pytest.fixture(scope="module")
def served() -> Iterator[ProcessPort]:
    """The reference in another process."""
    reference = f"{warm_python()} -m spec_tests.process.server spec_tests.ports.reference:ReferencePort"
    with ProcessPort(reference) as port:
        yield port


def test_the_served_reference_declares_what_the_reference_declares(served: ProcessPort) -> None:
    """Kills: a field of the declaration lost on the way."""
    assert served.declare() == ReferencePort().declare()


def test_the_served_reference_passes_chapters_of_the_specification(served: ProcessPort) -> None:
    """Kills: arrays transposed or of another type on the way; gradients not asked for."""
    test_normalize.test_vectors_are_divided_by_their_regularised_length(served)
    test_normalize.test_zero_gives_zero_and_the_gradient_is_the_closed_form_with_bound_one_over_eps(served)
    test_newton_schulz.test_each_matrix_of_a_batch_stands_alone(served)
    test_memory_step.test_titans_omega_and_delta_write_as_the_table_says(served)


@pytest.mark.parametrize("op", OPERATIONS)
def test_a_tiny_case_of_every_operation_is_one_that_the_reference_takes(op: Op) -> None:
    """Kills: a row of the table for which the examination of programs has no case."""
    config, taps = tiny_config(op), frozenset(tap.name for tap in OPERATIONS[op].taps)
    for numerics in PROFILES:
        ask(ReferencePort(), op, config, prepare(op, numerics, tiny_inputs(op), config), numerics, taps)


def test_a_served_answer_is_that_of_the_port_to_the_last_bit(served: ProcessPort) -> None:
    """Kills: strides ignored, shape [] lost, int64 or float64 narrowed on the way."""
    for op in (Op.M3_MIX, Op.MEMORY_STEP, Op.SHORT_CONV):
        config = tiny_config(op)
        for numerics in PROFILES:
            given = prepare(op, numerics, tiny_inputs(op), config)
            given = {name: np.asarray(value, order="F") for name, value in given.items()}
            expected = ReferencePort().run(op, config, given, numerics=numerics, taps=frozenset())
            actual = served.run(op, config, given, numerics=numerics, taps=frozenset())
            for name, value in expected.items():
                assert (actual[name].shape, actual[name].dtype) == (value.shape, value.dtype)
                assert np.array_equal(actual[name], value)


def test_arrays_come_out_of_a_file_as_they_went_in(tmp_path: Path) -> None:
    """Kills: shape [] as [1]; columns taken for rows; a type changed; an empty array lost."""
    arrays = {"none": np.array(2.5), "empty": np.zeros((0, 3), np.float32), "index": np.arange(6).reshape(2, 3).T}
    write_arrays(tmp_path / "file", arrays)
    read = read_arrays(tmp_path / "file", 10_000)
    assert set(read) == set(arrays)
    for name, value in arrays.items():
        assert (read[name].shape, read[name].dtype) == (value.shape, value.dtype)
        assert np.array_equal(read[name], value)


def test_a_served_operation_that_nobody_knows_is_unsupported(served: ProcessPort) -> None:
    """Kills: an unknown operation as an error, which would count as a failure of the port."""
    with pytest.raises(UnsupportedError):
        served.run("no_such_op", {}, {}, numerics=Numerics.F64, taps=frozenset())


def test_the_schema_holds_every_message_and_every_operation() -> None:
    """Kills: an operation, an axis or a message left out of what porters read."""
    written = json.loads(json.dumps(schema()))
    assert {row["op"] for row in written["operations"]} == set(OPERATIONS)
    for row in written["operations"]:
        known = OPERATIONS[row["op"]]
        for kind in ("inputs", "outputs", "taps"):
            tensors = [(tensor.name, list(tensor.axes), tensor.role) for tensor in getattr(known, kind)]
            assert [(tensor["name"], tensor["axes"], tensor["role"]) for tensor in row[kind]] == tensors
        assert set(row["config"]) == set(known.config)
    names = [reference["$ref"].removeprefix("#/$defs/") for reference in written["requests"] + written["replies"]]
    assert all(written["$defs"][name]["additionalProperties"] is False for name in names)
    assert {"in", "out", "taps", "id"} < set(written["$defs"]["RunRequest"]["required"])
