"""The report of a divergence: text for whoever has to find the cause."""

from typing import TYPE_CHECKING

import numpy as np

from spec_tests.contract.outcome import Divergence
from spec_tests.port import Numerics
from spec_tests.vectors.case import Case
from spec_tests.vectors.compare import distances, steps_axis
from spec_tests.vectors.hint import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator


def explain(
    case: Case,
    numerics: Numerics,
    found: Divergence,
    answer: Answer,
    untapped: tuple[str, ...],
    hint: str,
) -> str:
    """Return the report of the first divergence of a case."""
    config = " ".join(f"{key}={value}" for key, value in case.config.items())
    lines = [
        f"{case.id} revision {case.revision}, {case.op} in {numerics}: {case.why}",
        f"  configuration: {config or 'none'}",
        f"  first divergence: {_where(found)}, budget {found.budget:.2g}, got {found.error:.2g}{_times(found)}",
        f"  worst element: {found.tensor}{_index(found)} is {found.got:.9g}, expected {found.expected:.9g}",
        f"  upstream equal: {', '.join(found.upstream) or 'nothing stands before it'}",
    ]
    others = ", ".join(_others(case, numerics, found, answer))
    lines += [f"  also diverging: {others}"] if others else []
    lines += [f"  not shown by the port: {', '.join(untapped)}"] if untapped else []
    lines.append(f"  nearest seeded fault: {hint}")
    lines.append(f"  sentences: {', '.join(case.requirements)}")
    lines.append(f"  rerun: {rerun(case, numerics)}")
    return "\n".join(lines)


def rerun(case: Case, numerics: Numerics) -> str:
    """Return the command that asks this case alone; PORT stands for the name that the port was loaded by."""
    suite = "python -m pytest -p spec_tests.report.plugin --pyargs spec_tests.vectors.test_vectors"
    return f"{suite} --port PORT -k {case.id}-{numerics}"


def _where(found: Divergence) -> str:
    return f"tensor {found.tensor}" if found.step is None else f"step {found.step}, tensor {found.tensor}"


def _times(found: Divergence) -> str:
    if not np.isfinite(found.got):
        return " (not finite)"
    return f" ({found.error / found.budget:.2g} budgets)" if found.budget and np.isfinite(found.error) else ""


def _index(found: Divergence) -> str:
    return f"[{', '.join(str(i) for i in found.index)}]" if found.index else ""


def _others(case: Case, numerics: Numerics, found: Divergence, answer: Answer) -> "Iterator[str]":
    for name, errors in distances(case.op, answer, case.expected).items():
        over = np.flatnonzero(~(errors <= case.budgets[numerics][name]))
        if len(over) and name != found.tensor:
            yield name if steps_axis(case.op, name) is None else f"{name} from step {over[0]}"
