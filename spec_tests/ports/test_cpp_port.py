"""The port in C++ is a right one and a robust one: its numbers are the reference's, and no input brings it down.

A port is asked here that has nothing to do with `--port`; where no C++ compiler is, the tests are skipped.
"""

import json
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from atlas_ref.compiling import NoCompilerError
from atlas_ref.errors import UserError
from spec_tests.chapters.memory_step.calls import case, every_rule, rule, token
from spec_tests.contract.driver import Result, ask, prepare, run, widen
from spec_tests.contract.operations import OPERATIONS
from spec_tests.drawing.inputs import generator, positions
from spec_tests.port import PROFILES, Array, Numerics, Op, Scalar, UnsupportedError
from spec_tests.ports.cpp import CompiledPort, build
from spec_tests.ports.numpy import NumpyPort
from spec_tests.ports.reference import ReferencePort
from spec_tests.process.tiny import tiny_config, tiny_inputs

MEMORIES = (Op.MEMORY_STEP, Op.MEMORY_SCAN, Op.MEMORY_CHUNKED)
Question = tuple[dict[str, Scalar], dict[str, Array]]


@pytest.fixture(scope="session")
def compiled() -> Iterator[CompiledPort]:
    try:
        program = CompiledPort()
    except NoCompilerError as error:
        pytest.skip(str(error))
    with program:
        yield program


@pytest.fixture(scope="session")
def program(compiled: CompiledPort) -> str:
    return compiled.arguments[0]


def primitive_questions(op: Op) -> Iterator[Question]:
    """Yield every value of every name of the configuration, with signed activations in the middle of documents."""
    inputs = tiny_inputs(op)
    for tensor in OPERATIONS[op].inputs:
        if tensor.role == "activation":
            inputs[tensor.name] = inputs[tensor.name] - 0.5
        if tensor.name == "position":
            inputs["position"] = positions(2, 3, seed=1, reset_rate=0.3)
        if tensor.name == "crossings":
            inputs["crossings"] = np.array([1, 5])
        if tensor.name == "embedding":
            inputs["embedding"] = generator(2).standard_normal((7, 4))
        if tensor.name == "permutations":
            inputs["permutations"] = np.stack([generator(seed).permutation(7) for seed in range(3)])
    config = tiny_config(op)
    yield config, inputs
    for key, allowed in OPERATIONS[op].config.items():
        for value in allowed[1:] if isinstance(allowed, tuple) else ():
            yield {**config, key: value}, inputs


def memory_questions(op: Op) -> Iterator[Question]:
    """Yield every rule with each memory as printed, and every rule with all that can be otherwise."""
    changed: dict[str, Scalar] = {"boundary": "truncate", "read": "pre", "loss_scale": 1.0, "step_scale": "mass"}
    for config in (*every_rule(chunk=3), *every_rule(chunk=3, **changed)):
        inputs = case(config, time=7, document=4, seed=3)
        yield config, token(inputs, 0) if op is Op.MEMORY_STEP else inputs


@pytest.mark.parametrize("numerics", PROFILES)
def test_every_declared_operation_agrees_with_the_reference(compiled: CompiledPort, numerics: Numerics) -> None:
    reference = ReferencePort()
    for op in sorted(compiled.declare().operations):
        for config, inputs in (memory_questions if op in MEMORIES else primitive_questions)(op):
            actual = run(compiled, op, numerics, inputs, **config)
            wanted = run(reference, op, numerics, inputs, **config)
            names = ["kernel"] if op is Op.POLYNOMIAL_FEATURES else sorted(wanted.outputs)
            for name in names:
                compare(actual, wanted, name)


def compare(actual: Result, wanted: Result, name: str) -> None:
    """Compare one output; of features only inner products, for their order is the port's own."""
    if name == "kernel":
        kernels = [result["features"] @ result["features"].T for result in (actual, wanted)]
        np.testing.assert_allclose(kernels[0], kernels[1], rtol=0, atol=4 * actual.tolerance("features"))
    else:
        actual.assert_close(name, wanted[name], factor=10.0)


def test_taps_are_those_of_the_loop(compiled: CompiledPort) -> None:
    loops = NumpyPort()
    for op in MEMORIES[:2]:
        taps = frozenset(tensor.name for tensor in OPERATIONS[op].taps)
        for config, inputs in memory_questions(op):
            given = prepare(op, Numerics.F64, inputs, config)
            actual = ask(compiled, op, config, given, Numerics.F64, taps)
            wanted = ask(loops, op, config, given, Numerics.F64, taps)
            for name in taps:
                np.testing.assert_allclose(actual[name], wanted[name], rtol=1e-9, atol=1e-10, err_msg=f"{op} {name}")


def test_the_primitives_and_the_memory_are_declared_and_nothing_above_level_three(compiled: CompiledPort) -> None:
    declared = compiled.declare().operations
    assert {Op.NEWTON_SCHULZ, Op.SLIDING_WINDOW_ATTENTION, Op.CIRCULAR_FIT, *MEMORIES} <= declared
    assert all(OPERATIONS[op].level <= 3 for op in declared)


@pytest.mark.parametrize(
    ("op", "changes"),
    [
        (Op.NEWTON_SCHULZ, {"coefficients": "quartic"}),
        (Op.NEWTON_SCHULZ, {"coefficients": 5}),
        (Op.NEWTON_SCHULZ, {"steps": -1}),
        (Op.NEWTON_SCHULZ, {"steps": 2.5}),
        (Op.NEWTON_SCHULZ, {"steps": True}),
        (Op.NEWTON_SCHULZ, {"damping": 0.5}),
        (Op.MEMORY_SCAN, {"rule": "hebbian"}),
        (Op.MEMORY_SCAN, {"chunk": 0}),
        (Op.MEMORY_SCAN, {"momentum_max": 1.0}),
    ],
)
def test_what_it_does_not_know_is_unsupported(compiled: CompiledPort, op: Op, changes: dict[str, Scalar]) -> None:
    config = {**(rule("omega") if op is Op.MEMORY_SCAN else tiny_config(op)), **changes}
    inputs = prepare(op, Numerics.F64, tiny_inputs(op), tiny_config(op))
    with pytest.raises(UnsupportedError, match=op):
        compiled.run(op, config, inputs, numerics=Numerics.F64, taps=frozenset())


def test_gradients_are_unsupported(compiled: CompiledPort) -> None:
    inputs = {"x": np.ones((1, 2)), "cotangent.y": np.ones((1, 2))}
    with pytest.raises(UnsupportedError) as error:
        compiled.run(Op.L2_NORMALIZE, {"eps": 0.5}, inputs, numerics=Numerics.F64, taps=frozenset())
    assert error.value.capability == "gradients"


def talk(program: str, lines: list[bytes]) -> list[dict[str, Any]]:
    """Return the answers to lines; one each, and the program ends well."""
    done = subprocess.run([program], input=b"\n".join(lines) + b"\n", capture_output=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr.decode()
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(lines)
    return answers


def message(given: Path, **changes: object) -> bytes:
    whole = {"cmd": "run", "id": "1", "op": "l2_normalize", "config": {"eps": 0.5}, "numerics": "f64", "taps": []}
    return json.dumps({**whole, "in": str(given), "out": str(given) + ".out", **changes}).encode()


def test_broken_lines_are_answered_with_an_error_and_the_next_run_is_done(program: str, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_bytes(save({"x": np.ones((2, 3))}))
    good = message(given)
    broken = [
        b"",
        b"nonsense",
        b"[" * 100_000,
        b'{"cmd":"run","id":"\xff"}',
        b'{"cmd":"dance","id":"\\ud800"}',
        b'{"cmd":"run","cmd":"run"}',
        good[:-1],
        good + b"}",
        message(given, cmd="dance"),
        message(given, config=[]),
        message(given, config={}),
        message(given, config={"eps": 1}, op=7),
        message(given, taps="all"),
        message(given, out=str(tmp_path)),
        message(tmp_path / "missing"),
        message(tmp_path),
    ]
    answers = talk(program, [*broken, good])
    for line, answer in zip(broken, answers, strict=False):
        assert answer["status"] == "error", f"{line[:80]!r} is answered {answer}"
        assert answer["message"]
    assert answers[-1] == {"id": "1", "status": "ok"}


def header(text: str, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text.encode() + data


def entry(dtype: str = "F64", shape: str = "[1,2]", offsets: str = "[0,16]") -> str:
    return f'{{"x":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}'


def test_broken_files_are_answered_with_an_error(program: str, tmp_path: Path) -> None:
    whole = save({"x": np.ones((2, 3))})
    two = bytes(16)
    files = [
        *(whole[:size] for size in range(0, len(whole), 3)),
        whole + b"\0",
        header(entry(), two, length=2**63),
        header(entry(), two, length=2**64 - 1),
        header("[]"),
        header(entry(dtype="BF16"), two),
        header(entry(dtype="F32"), two),
        header(entry(shape="[1,3]"), two),
        header(entry(shape="[-1,-2]"), two),
        header(entry(shape="[4611686018427387904,4,1,2]", offsets="[0,16]"), two),
        header(entry(offsets="[0,17]"), two),
        header(entry(offsets="[16,0]"), two),
        header(entry(offsets="[8,24]"), two),
        header(entry(offsets="[0]"), two),
        header('{"x":7}', two),
        header(entry(shape="[]", offsets="[0,8]"), bytes(8)),
        header(entry(shape="[2]"), two),
    ]
    paths = [tmp_path / str(number) for number in range(len(files))]
    for path, content in zip(paths, files, strict=True):
        path.write_bytes(content)
    for content, answer in zip(files, talk(program, [message(path) for path in paths]), strict=True):
        assert answer["status"] == "error", f"{content[:80]!r} is answered {answer}"


def test_one_case_by_arguments_exits_with_0_3_or_1(program: str, tmp_path: Path) -> None:
    given, config, answer = (tmp_path / name for name in ("given", "config.json", "answer"))
    given.write_bytes(save({"x": np.ones((2, 3))}))
    config.write_text('{"eps": 0.5}')

    def code(op: str, *more: str) -> int:
        files = ["--config", str(config), "--in", str(given), "--out", str(answer)]
        command = [program, "run", "--op", op, "--numerics", "f64", *files, *more]
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode

    assert code("l2_normalize", "--taps", "a,b") == 0
    assert answer.exists()
    assert code("no_such_thing") == 3
    assert code("newton_schulz") == 1
    assert code("l2_normalize", "--verbose") == 1


def test_the_program_is_built_once_and_without_a_compiler_the_reason_is_named(
    compiled: CompiledPort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = Path(compiled.arguments[0])
    before = built.stat().st_mtime_ns
    assert build(built.parent) == built
    assert built.stat().st_mtime_ns == before
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(NoCompilerError, match="no-such-compiler not found"):
        build(tmp_path)
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(UserError, match="does not compile"):
        build(tmp_path)
    assert not list(tmp_path.glob("port-*"))


def test_memory_activations_leave_in_bfloat16_and_state_in_float32(compiled: CompiledPort) -> None:
    config = rule("omega")
    inputs = case(config, time=5, seed=2)
    inputs["weights"] = generator(9).standard_normal(inputs["weights"].shape)
    result = run(compiled, Op.MEMORY_SCAN, Numerics.BF16_IO, inputs, **config)
    exact = run(compiled, Op.MEMORY_SCAN, Numerics.F64, widen(result.inputs), **config)
    assert np.abs(result["weights"] - exact["weights"]).max() < 1e-5
    assert np.abs(result["reads"] - exact["reads"]).max() > 1e-4
