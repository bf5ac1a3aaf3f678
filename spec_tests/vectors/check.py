"""Are the stored cases still what their sources and both oracles say? For continuous integration."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from spec_tests.contract.outcome import FormError, PortError
from spec_tests.port import Array, Numerics
from spec_tests.vectors.case import DATA, Case, load_cases, load_manifest
from spec_tests.vectors.compare import distances
from spec_tests.vectors.source import Source
from spec_tests.vectors.store import CHAPTERS, spec_sha256
from spec_tests.vectors.truth import of_loops, of_reference

SAME: Final = 1e-13
"""Largest error of a recomputed value, or the budget of the case in float64 where rounding alone does more."""


def problems(sources: Iterable[Source], data: Path = DATA) -> Iterator[str]:
    """Yield what is no longer so: cases without source, changed questions, values that are computed differently now.

    The loops are asked for values only: their derivatives, of one entry after another, were held against the
    reference when the case was filled.
    """
    stored = {case.id: case for case in load_cases(data=data)}
    known = {source.id: source for source in sources}
    for name in stored.keys() - known.keys():
        yield f"{name}: stored, but there is no source for it."
    for name, source in known.items():
        if name not in stored:
            yield f"{name}: not stored; `atlas vectors fill` computes it."
        elif stored[name].provenance["source_sha256"] != source.sha256():
            yield f"{name}: its source has changed since revision {stored[name].revision} was filled."
        elif stored[name].requirements != source.requirements or stored[name].why != source.why:
            yield f"{name}: its sentences or its reason have changed since it was filled."
        else:
            yield from _moved(stored[name])


def _moved(case: Case) -> Iterator[str]:
    question = case.question
    oracles: dict[str, Callable[[], dict[str, Array]]] = {
        "the reference": lambda: of_reference(question),
        "the numpy loops": lambda: of_loops(replace(question, cotangents={})),
    }
    for oracle, ask in oracles.items():
        try:
            answer = ask()
        except (FormError, PortError) as error:
            yield f"{case.id}: {oracle} gives no answer now ({error})."
            continue
        for name, errors in distances(case.op, answer, case.expected).items():
            allowed = np.maximum(SAME, case.budgets.get(Numerics.F64, {}).get(name, SAME))
            if (errors > allowed).any():
                yield f"{case.id}: {oracle} now gives another {name}, by {errors.max():.2g}."


def spec_changed(data: Path = DATA) -> bool:
    """Return whether the text of the specification is another than the cases were filled with; not so in a wheel."""
    return CHAPTERS.is_dir() and load_manifest(data).spec_sha256 != spec_sha256()
