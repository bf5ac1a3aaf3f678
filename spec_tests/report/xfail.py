"""The file of expected failures: strict both ways.

    ["ATL-NS-001/f32"]
    class = "divergence@tensor=y"
    reason = "the accelerator multiplies in TF32"

A case that is listed must fail in the class that is listed: one that passes, fails otherwise or does not run at all
makes the list stale, and a stale list fails the run. What is expected is still a failure: no list makes a port
conformant.

A name may have stars, `"ATL-NS-*/f64"`: it lists every case so named that the port was asked, one of them at least. A
case listed by its own name is not meant by any pattern, and of several patterns the first counts.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from atlas_ref.errors import UserError
from atlas_ref.reading import MOST_TOML, parse_toml, read_bytes
from spec_tests.contract.outcome import Outcome
from spec_tests.report.model import Result

CLASSES: Final = rf"^({Outcome.FAIL}|{Outcome.ERROR}|{Outcome.UNDECLARED}|divergence@tensor=.+)$"

STAR: Final = "*"
"""What stands for any text in a pattern."""


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


def listing(expected: Expectations, names: Iterable[str]) -> dict[str, str]:
    """Return, for each name of a case that is listed, under which name it is: its own, or the first pattern's."""
    patterns = {name: re.compile(re.escape(name).replace(r"\*", ".*")) for name in expected if STAR in name}
    found = {}
    for name in names:
        fits = [pattern for pattern, expression in patterns.items() if expression.fullmatch(name)]
        if name in expected or fits:
            found[name] = name if name in expected else fits[0]
    return found


def matches(expected: Expected, result: Result) -> bool:
    """Return whether a case fails, and as expected."""
    return result.failed and expected.failure in (result.outcome, failure_class(result))


def stale_lines(
    expected: Expectations, results: Mapping[str, Result], defined: frozenset[str], asked: frozenset[str]
) -> Iterator[str]:
    """Yield one line for each listed case that is not as listed; `defined` is the manifest, `asked` what this run owes.

    A result is judged before anything is called blocked: a list says how a case fails, not why.
    """
    cases: dict[str, list[str]] = {name: [] for name in expected}
    for case, name in listing(expected, sorted(defined | results.keys())).items():
        cases[name].append(case)
    for name, entry in expected.items():
        here = [case for case in cases[name] if case in defined]
        ran = [case for case in here if case in results and _ran(results[case])]
        if not here:
            yield f"{name} is listed, but the suite has no such case"
        elif not ran and asked.intersection(here):
            yield f"{name} is listed, but did not run"
        for case in ran:
            by = f"{case} is listed" + (f" by {name}" if case != name else "")
            if not results[case].failed:
                yield f"{by} as {entry.failure}, but passes"
            elif not matches(entry, results[case]):
                yield f"{by} as {entry.failure}, but is {failure_class(results[case])}"


def _ran(result: Result) -> bool:
    return result.failed or result.outcome is Outcome.PASS


def write_expected(path: Path, before: Expectations, results: Sequence[Result]) -> None:
    """Write the failures of a run; a case that was listed before keeps its reason, a pattern that still holds stays."""
    by_name = {result.id: result for result in results}
    names = listing(before, by_name)
    broken = {
        names[each.id] for each in results if each.id in names and _ran(each) and not _as_listed(before, names, each)
    }
    failed = [result for result in results if result.failed]
    kept = {names[result.id] for result in failed if STAR in names.get(result.id, "")} - broken
    tables = [_entry(name, before[name].failure, before[name].reason) for name in before if name in kept]
    for result in failed:
        name = names.get(result.id)
        if name not in kept:
            tables.append(_table(result, before[name] if name else None))
    path.write_text("\n".join(tables), "utf-8")


def _as_listed(expected: Expectations, names: Mapping[str, str], result: Result) -> bool:
    return matches(expected[names[result.id]], result)


def _table(result: Result, before: Expected | None) -> str:
    first_line = result.reason.strip().partition("\n")[0]
    reason = before.reason if before else first_line or failure_class(result)
    return _entry(result.id, failure_class(result), reason)


def _entry(name: str, failure: str, reason: str) -> str:
    return f"[{_quote(name)}]\nclass = {_quote(failure)}\nreason = {_quote(reason)}\n"


def _quote(text: str) -> str:
    """Return a TOML string: JSON's, without the one control character that JSON lets through."""
    return json.dumps(re.sub("[\x7f-\x9f]", " ", text), ensure_ascii=False)
