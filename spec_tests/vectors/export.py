"""The suite without an adapter: questions as files, and the judgement of answers that any tool wrote beside them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.numpy import load, save

from atlas_ref.errors import UserError
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.outcome import FormError, PortError
from spec_tests.contract.schema import TensorSchema
from spec_tests.port import Array, Declaration, Numerics, Scalar
from spec_tests.vectors.case import Case, load_cases, to_text
from spec_tests.vectors.judge import check

QUESTION, INPUTS = "case.json", "inputs.safetensors"
README: Final = """\
Stored cases of the specification of test-time memory, without their answers.

Each directory is one case: `case.json` says which operation with which configuration, `inputs.safetensors` holds the
inputs under their names. Floating-point inputs are stored as float32 and exact in every precision: widen them to
float64 for the profile f64, use them as they are for f32 and bf16_io, where activations are bfloat16 numbers already.

Write your outputs beside them as `answer-f64.safetensors`, `answer-f32.safetensors` or `answer-bf16_io.safetensors`:
every tensor that `outputs` in `case.json` names, with these axes, and none that it does not name but the `taps`, which
are optional. Types: F64 in f64, F32 otherwise, I64 where the role is `index`; in bf16_io activations are F32 tensors
whose values are bfloat16 numbers. Tensors are row-major: some writers take the bytes of a transposed view as they lie
in memory. Where `inputs` names `cotangent.X`, write also `grad.Y`, the derivative of
sum(cotangent.X * X) over all such X, for every floating-point input Y.

Then: atlas vectors check DIRECTORY [--numerics f32]
"""


@dataclass(frozen=True)
class Checked:
    """What became of one answer: `problem` is None where it passes; `missing` where there is none."""

    case: Case
    numerics: Numerics
    problem: str | None
    missing: bool = False


def export(cases: Iterable[Case], folder: Path) -> int:
    """Write the questions of cases to a folder and return how many; existing answers stay."""
    written = tuple(cases)
    for case in written:
        place = folder / case.id
        place.mkdir(parents=True, exist_ok=True)
        (place / QUESTION).write_text(to_text(question(case)) + "\n")
        (place / INPUTS).write_bytes(save(given(case)))
    (folder / "README.txt").write_text(README)
    return len(written)


def given(case: Case) -> dict[str, Array]:
    """Return inputs and cotangents under their names."""
    return {**case.inputs, **{f"cotangent.{name}": value for name, value in case.cotangents.items()}}


def question(case: Case) -> dict[str, Any]:
    """Return what `case.json` of an exported case holds: everything but the answer and its budgets."""
    row = OPERATIONS[case.op]
    names = ("id", "revision", "op", "level", "requirements", "why", "config")
    return {
        **{name: getattr(case, name) for name in names},
        "numerics": case.numerics,
        "inputs": {name: list(value.shape) for name, value in given(case).items()},
        "outputs": _described(row.outputs),
        "taps": _described(row.taps),
    }


def _described(tensors: tuple[TensorSchema, ...]) -> dict[str, dict[str, str]]:
    return {tensor.name: {"axes": " ".join(tensor.axes), "role": tensor.role} for tensor in tensors}


def check_answers(folder: Path, numerics: Numerics | None = None) -> Iterator[Checked]:
    """Yield what became of the answer to every question in a folder; raise UserError where there is no question."""
    found = {path.parent.name: path for path in sorted(folder.glob(f"*/{QUESTION}"))}
    if not found:
        raise UserError(f"{folder}: no exported cases here; `atlas vectors export {folder}` writes them.")
    cases = {case.id: case for case in load_cases()}
    for name, path in found.items():
        if name not in cases:
            raise UserError(f"{path}: no case '{name}' in this version of the suite; export again.")
        _require_revision(path, cases[name])
        for profile in cases[name].numerics:
            if numerics in (None, profile):
                yield _checked(cases[name], profile, path.parent / f"answer-{profile}.safetensors")


def _require_revision(path: Path, case: Case) -> None:
    try:
        revision = json.loads(path.read_text())["revision"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not an exported case; export again.") from error
    if revision != case.revision:
        raise UserError(f"{path}: revision {revision}, but the suite has {case.revision}; export again.")


def _checked(case: Case, numerics: Numerics, path: Path) -> Checked:
    if not path.is_file():
        return Checked(case, numerics, f"{path.name} is missing", missing=True)
    try:
        check(Answered(load(path.read_bytes())), case, numerics)
    except (SafetensorError, KeyError) as error:
        # numpy has no bfloat16: the reader fails on its name.
        return Checked(case, numerics, f"{path}: not readable as safetensors of F64, F32 and I64 ({error})")
    except AssertionError as error:
        return Checked(case, numerics, str(error))
    return Checked(case, numerics, None)


class Answered:
    """A port that has its answer already, to one question."""

    def __init__(self, answer: Mapping[str, Array]) -> None:
        self._answer = answer
        self._asked = False

    def declare(self) -> Declaration:
        """Not asked: the question was chosen by whoever answered it."""
        raise PortError("answers in files declare nothing")

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        """Return the answer the first time; there is none to a shorter question."""
        del op, config, inputs, numerics, taps
        if self._asked:
            raise FormError("a file answers one question")
        self._asked = True
        return self._answer
