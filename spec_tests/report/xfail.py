"""The file of expected failures: strict both ways.

    ["ATL-NS-001/f32"]
    class = "divergence@tensor=y"
    reason = "the accelerator multiplies in TF32"

A case that is listed must fail in the class that is listed: one that passes, fails otherwise or does not run at all
makes the list stale, and a stale list fails the run. What is expected is still a failure: no list makes a port
conformant.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from atlas_ref.errors import UserError
from atlas_ref.reading import MOST_TOML, parse_toml, read_bytes
from spec_tests.contract.outcome import Outcome
from spec_tests.report.model import Result

CLASSES: Final = rf"^({Outcome.FAIL}|{Outcome.ERROR}|{Outcome.UNDECLARED}|divergence@tensor=.+)$"


class Expected(BaseModel):
    """Why a case fails, and how."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    reason: Annotated[str, Field(min_length=1)]
    failure: Annotated[str, Field(alias="class", pattern=CLASSES)]


Expectations = Mapping[str, Expected]
_FILE: Final = TypeAdapter(dict[str, Expected])


def read_expected(path: Path) -> Expectations:
    """Return the list in a file; raise UserError with one sentence where it is not one."""
    try:
        return _FILE.validate_python(parse_toml(read_bytes(path, MOST_TOML)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f'{path}: {where}: {first["msg"]}; a case has a reason and a class, one of "fail", "error", '
            f'"undeclared-unsupported" and "divergence@tensor=NAME".'
        ) from error
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path}: not TOML ({error}).") from error


def failure_class(result: Result) -> str:
    """Return the narrowest class of a failure."""
    return f"divergence@tensor={result.divergence.tensor}" if result.divergence else result.outcome


def matches(expected: Expected, result: Result) -> bool:
    """Return whether a case fails, and as expected."""
    return result.failed and expected.failure in (result.outcome, failure_class(result))


def stale_lines(
    expected: Expectations, results: Mapping[str, Result], defined: frozenset[str], asked: frozenset[str]
) -> Iterator[str]:
    """Yield one line for each listed case that is not as listed; `defined` is the manifest, `asked` what this run owes.

    A result is judged before anything is called blocked: a list says how a case fails, not why.
    """
    for name, entry in expected.items():
        result = results.get(name)
        if name not in defined:
            yield f"{name} is listed, but the suite has no such case"
        elif result is None or not (result.failed or result.outcome is Outcome.PASS):
            if name in asked:
                yield f"{name} is listed, but did not run"
        elif not result.failed:
            yield f"{name} is listed as {entry.failure}, but passes"
        elif not matches(entry, result):
            yield f"{name} is listed as {entry.failure}, but is {failure_class(result)}"


def write_expected(path: Path, before: Expectations, results: Sequence[Result]) -> None:
    """Write the failures of a run; a case that was listed before keeps its reason."""
    path.write_text("\n".join(_table(result, before.get(result.id)) for result in results if result.failed), "utf-8")


def _table(result: Result, before: Expected | None) -> str:
    first_line = result.reason.strip().partition("\n")[0]
    reason = before.reason if before else first_line or failure_class(result)
    return f"[{_quote(result.id)}]\nclass = {_quote(failure_class(result))}\nreason = {_quote(reason)}\n"


def _quote(text: str) -> str:
    """Return a TOML string: JSON's, without the one control character that JSON lets through."""
    return json.dumps(re.sub("[\x7f-\x9f]", " ", text), ensure_ascii=False)
