"""Questions in files, answers from any tool, judged as those of a port are."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save
from typer.testing import CliRunner

from atlas_ref.errors import UserError
from cli.app import app
from spec_tests.contract.operations import OPERATIONS
from spec_tests.port import Numerics, Op
from spec_tests.ports.reference import ReferencePort
from spec_tests.vectors.case import Case, load_cases
from spec_tests.vectors.export import check_answers, export

CASES = (*load_cases(op=Op.SHORT_CONV), *load_cases(op=Op.MEMORY_STEP)[:2])


def answer(folder: Path, case: Case, numerics: Numerics, factor: float = 1.0) -> Path:
    """Answer a case as a tool of one's own would: from the exported files alone."""
    given = load((folder / case.id / "inputs.safetensors").read_bytes())
    inputs = {name: value.astype(numerics.dtype) if value.dtype.kind == "f" else value for name, value in given.items()}
    outputs = ReferencePort().run(case.op, case.config, inputs, numerics=numerics, taps=frozenset())
    name = OPERATIONS[case.op].outputs[-1].name
    path = folder / case.id / f"answer-{numerics}.safetensors"
    outputs = {**outputs, name: np.asarray(factor * outputs[name], numerics.dtype)}
    # The writer takes the bytes as they lie in memory, whatever the strides say.
    path.write_bytes(save({name: np.array(value, order="C") for name, value in outputs.items()}))
    return path


def test_right_answers_pass_and_a_wrong_one_is_reported(tmp_path: Path) -> None:
    export(CASES, tmp_path)
    for case in CASES:
        for numerics in case.numerics:
            answer(tmp_path, case, numerics)
    assert all(found.problem is None for found in check_answers(tmp_path))
    answer(tmp_path, CASES[0], Numerics.F32, factor=1.5)
    wrong = [found for found in check_answers(tmp_path) if found.problem is not None]
    assert [(found.case.id, found.numerics) for found in wrong] == [(CASES[0].id, Numerics.F32)]
    assert "first divergence" in str(wrong[0].problem)


def test_an_export_holds_no_answer(tmp_path: Path) -> None:
    export(CASES, tmp_path)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or (b"expected" not in path.read_bytes() and b"budget" not in path.read_bytes())


def test_missing_answers_and_unreadable_ones_are_told_apart(tmp_path: Path) -> None:
    export(CASES[:2], tmp_path)
    answer(tmp_path, CASES[0], Numerics.F64).write_bytes(b"not a file of tensors")
    found = {(item.case.id, item.missing) for item in check_answers(tmp_path, Numerics.F64)}
    assert found == {(CASES[0].id, False), (CASES[1].id, True)}


def test_a_folder_without_questions_or_with_old_ones_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no exported cases"):
        list(check_answers(tmp_path))
    export(CASES[:1], tmp_path)
    path = tmp_path / CASES[0].id / "case.json"
    path.write_text(path.read_text().replace('"revision": 1', '"revision": 0'))
    with pytest.raises(UserError, match="revision 0"):
        list(check_answers(tmp_path))


def test_the_commands_say_with_their_exit_code_what_became_of_the_answers(tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert "ATL-CONV-001" in run(app, ["vectors", "list", "--op", "short_conv"]).output
    exported = run(app, ["vectors", "export", str(tmp_path), "--op", "short_conv"])
    assert exported.exit_code == 0
    assert (tmp_path / "README.txt").is_file()
    check = ["vectors", "check", str(tmp_path), "--numerics", "f32"]
    assert run(app, check).exit_code == 3
    cases = load_cases(op=Op.SHORT_CONV)
    for case in cases:
        answer(tmp_path, case, Numerics.F32)
    assert run(app, check).exit_code == 0
    answer(tmp_path, cases[0], Numerics.F32, factor=-1.0)
    wrong = run(app, check)
    assert wrong.exit_code == 1
    assert f"passed {len(cases) - 1}, wrong 1, missing 0" in wrong.output


def test_an_operation_that_does_not_exist_is_one_clear_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["vectors", "export", str(tmp_path), "--op", "no_such"])
    assert isinstance(result.exception, UserError)
    assert "no_such" in str(result.exception)
