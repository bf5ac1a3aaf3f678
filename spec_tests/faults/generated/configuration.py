"""Keys of the configuration that a port ignores, fixes, or takes for another."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from spec_tests.contract.schema import Operation
from spec_tests.faults.fault import Config, with_config
from spec_tests.faults.generated.kind import Kind, Place
from spec_tests.port import Scalar

SHAPED: Final[Mapping[str, str]] = {
    "architecture": "the number of parameters of each architecture is another: the arrays say it too",
    "gate_axis": "each axis has another number of gates; rows for columns where they are as many is a seeded fault",
    "window": "the length of the cache says it too",
    "span": "the length of the cache says it too",
}
"""Keys that are no fault to ignore, because an array of the call has a length that says the same."""

USUAL: Final[Mapping[str, tuple[Scalar, ...]]] = {
    "alpha": (0.9, 0.98),
    "average": (0.99, 0.999),
    "beta1": (0.9, 0.95),
    "beta2": (0.95, 0.999),
    "chunk": (1, 4, 64),
    "clip": (1.0, 0.1),
    "decay": (0.9, 0.99),
    "eps": (1e-8, 1e-6),
    "every": (1, 4),
    "exponent": (2.0, 3.0),
    "factor": (1.0, 0.1),
    "floor": (0.0, 0.1),
    "last": (0.0, 0.1),
    "learning_rate": (1e-3, 0.02),
    "level": (0.0, 0.1),
    "link_exponent": (2.0, 4.0),
    "link_scale": (1.0, 2.0),
    "loss_scale": (0.5, 1.0),
    "min_ratio": (0.0, 0.1),
    "mask": (0, 103),
    "micro_steps": (1, 6),
    "momentum": (0.9, 0.95),
    "momentum_max": (0.9, 1.0),
    "muon_learning_rate": (1e-3, 0.02),
    "newton_schulz_steps": (3, 5),
    "no_grad_recursions": (0, 2),
    "norm_eps": (1e-5, 1e-6),
    "qk_clip": (1.0, 30.0),
    "recursions": (1, 3),
    "retrieval": (1.0, 5.0),
    "rope_base": (100.0, 10000.0),
    "shard": (0, 8),
    "smoothing": (1e-6, 1e-3),
    "split": (0, 4),
    "step": (0, 1000),
    "step0": (0, 1),
    "step_chunk": (0, 64),
    "step_max": (0.8, 1.0),
    "steps": (3, 5),
    "storage": (1.0, 2.0),
    "strength": (1.0, 2.0),
    "threshold": (0.95, 2.0),
    "top": (1, 2),
    "total_steps": (10, 1000),
    "warmup_crossings": (4, 8),
    "warmup_steps": (0, 10),
    "weight_decay": (0.01, 0.1),
}
"""For each key that is a number: what a port that ignores it may have, in public code and in this suite's own cases."""

FOR_ZERO: Final[Mapping[str, Scalar]] = {
    "alpha": 0.98,
    "beta1": 0.9,
    "floor": 0.1,
    "level": 0.1,
    "momentum": 0.95,
    "momentum_max": 0.9,
    "newton_schulz_steps": 5,
    "shard": 8,
    "step_chunk": 64,
    "steps": 5,
    "strength": 2.0,
    "warmup_crossings": 8,
    "weight_decay": 0.01,
}
"""Keys that may be zero, and what stands in its place where it counts as absent."""


def _answered_as(row: Operation) -> Iterator[Place]:
    for key, values in row.config.items():
        if key in SHAPED:
            continue
        options: tuple[Scalar, ...] = values if isinstance(values, tuple) else (False, True) if values is bool else ()
        for asked in options:
            for answered in options:
                if asked != answered:
                    change = partial(_instead, row, key, asked, answered)
                    yield Place(f"{key}={asked} as {answered}", with_config(change))


def _instead(row: Operation, key: str, asked: Scalar, answered: Scalar, config: Config) -> Config:
    """Return another value of a key where that means something beside the others."""
    changed = {key: answered if config[key] == asked else config[key]}
    return changed if row.meaningless({**config, **changed}) is None else {}


def _fixed(row: Operation) -> Iterator[Place]:
    for key, kind in row.config.items():
        if kind in (int, float) and key not in SHAPED:
            for value in USUAL[key]:
                yield Place(f"{key} at {value}", with_config(partial(_always, key, value)))


def _always(key: str, value: Scalar, _: Config) -> Config:
    return {key: value}


def _zero_is_absent(row: Operation) -> Iterator[Place]:
    for key in row.config:
        if key in FOR_ZERO:
            yield Place(key, with_config(partial(_or_default, key)))


def _or_default(key: str, config: Config) -> Config:
    return {key: config[key] or FOR_ZERO[key]}


KINDS: Final = (
    Kind("answered-as", "a name of the configuration is answered as another", "value", _answered_as),
    Kind("fixed", "a number of the configuration is ignored for its usual value", "value", _fixed),
    Kind("zero-is-absent", "a number of exactly zero counts as absent: `x or default`", "value", _zero_is_absent),
)
