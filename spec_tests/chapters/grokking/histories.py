"""Constructed runs, each of which reaches what its name says; steps lie unevenly, as after a resumed run."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.drawing.inputs import generator
from spec_tests.port import Array

STEPS: Final = np.array([10, 60, 100, 180, 250, 400, 430, 700, 900, 1300, 1900, 2000, 2600, 2700, 3100, 3600])
COUNT: Final = len(STEPS)
LAST: Final = 16 - 1


def textbook() -> dict[str, Array]:
    """Return a run that memorises, forms circuits while validation is at zero, cleans up, and groks."""
    u = np.arange(COUNT)
    return {
        "step": STEPS,
        "training": np.clip(0.05 + 0.32 * u, 0.0, 1.0),
        "validation": np.array([0, 0, 0, 0, 0, 0, 0.01, 0.02, 0.05, 0.1, 0.4, 0.72, 0.92, 0.96, 0.97, 0.99]),
        "concentration": np.array([12, 11.5, 12.2, 11.8, 12, 12.1, 14, 17, 21, 25, 31, 33, 36, 37, 41, 42]) / 100.0,
        "null": 0.125 + 0.002 * np.sin(u),
        "norm": np.concatenate([30.0 + 2.0 * u[:7], 42.0 - 1.5 * np.arange(COUNT - 7) + 0.2 * np.cos(u[7:])]),
    }


def at_once() -> dict[str, Array]:
    """Return a run whose validation follows its training: it is right, and nothing was grokked."""
    run = textbook()
    right, rising = np.clip(run["training"] - 0.02, 0.0, 1.0), 0.03 * STEPS / 1000.0
    return run | {"validation": right, "concentration": 0.2 + rising, "norm": 50.0 - 100.0 * rising}


def early() -> dict[str, Array]:
    """Return the textbook with more concentration than chance has, and rising, before anything is memorised."""
    return textbook() | {"concentration": 0.14 + 0.08 * STEPS / 1000.0}


def known() -> dict[str, Array]:
    """Return a run that memorises and stays there; what its weights gain with all they know has some concentration."""
    run, u = textbook(), np.arange(COUNT)
    flat = {"validation": 0.001 + 0.0 * u, "concentration": 0.135 + 0.001 * u, "norm": 30.0 + 0.5 * u + 0.1 * np.cos(u)}
    return run | flat


def dissolved() -> dict[str, Array]:
    """Return a run whose norm rises again after circuits formed, and which then loses them."""
    run = textbook()
    concentration, norm = run["concentration"].copy(), run["norm"].copy()
    concentration[12:] = [0.2, 0.11, 0.105, 0.11]
    norm[10:] = norm[9] + 0.5 * np.arange(COUNT - 10)
    return run | {"validation": np.minimum(run["validation"], 0.2), "concentration": concentration, "norm": norm}


def never() -> dict[str, Array]:
    """Return a run that memorises and stays there."""
    run, u = textbook(), np.arange(COUNT)
    flat = {"validation": 0.01 + 0.004 * np.cos(u), "concentration": 0.118 + 0.003 * np.cos(3.0 * u)}
    return run | flat


def relapse() -> dict[str, Array]:
    """Return a run that is right twice, wrong once, and right again: only the last stretch is three in a row."""
    run = textbook()
    validation = run["validation"].copy()
    validation[-6:] = [0.96, 0.97, 0.91, 0.96, 0.98, 0.97]
    # It stays as it is from where it is right on.
    norm = np.where(np.arange(COUNT) < COUNT - 7, run["norm"], 28.0 + 0.5 * np.cos(5.0 * np.arange(COUNT)))
    return run | {"validation": validation, "norm": norm}


def plain() -> dict[str, Array]:
    """Return a run without a turn: training that never memorises, and numbers that wander."""
    rng, run = generator(31), textbook()
    return run | {
        "training": 0.3 + 0.5 * rng.random(COUNT),
        "validation": 0.2 + 0.3 * rng.random(COUNT),
        "concentration": 0.12 + 0.03 * rng.standard_normal(COUNT),
        "norm": 30.0 + rng.standard_normal(COUNT),
    }


def bent() -> dict[str, Array]:
    """Return a short run whose concentration rises surely against its count, and not against its steps."""
    run = {name: values[:5] for name, values in textbook().items()}
    step, u = np.array([1, 1000, 1001, 1002, 1003]), np.arange(5)
    return run | {"step": step, "concentration": 0.2 + 0.01 * u, "norm": 40.0 - u - step / 1000.0}


def concentrated() -> dict[str, Array]:
    """Return the textbook with a concentration that passes the source system's thresholds one by one."""
    run = textbook()
    passing = [12, 11, 12, 13, 20, 26, 29, 31, 36, 45, 52, 58, 59, 66, 78, 84]
    validation = np.where(STEPS == 2600, 0.955, run["validation"])
    return run | {"concentration": np.array(passing) / 100.0, "validation": validation}


def fine() -> dict[str, Array]:
    """Return the textbook as near to every threshold as float32 tells apart, and bfloat16 does not."""
    u = np.arange(COUNT)
    right = [0, 0, 0, 0.4999, 0.4999, 0.5001, 0.4999, 0.6, 0.8, 0.8999, 0.9001, 0.9001, 0.9499, 0.9501, 0.9501, 0.9501]
    return {
        "step": STEPS,
        "training": np.where(u < 4, 0.9899, 0.9901),
        "validation": np.array(right),
        "concentration": 0.12504 + 1e-5 * u,
        "null": 0.125115 + 0.0 * u,
        "norm": 30.0 - 1e-3 * u,
    }


_RUNS: Final = (textbook, at_once, early, known, dissolved, never, relapse, plain, bent, concentrated, fine)
HISTORIES: Final[Mapping[str, Mapping[str, Array]]] = {run.__name__.replace("_", " "): run() for run in _RUNS}
