"""The rules and calls of a test as a port declares them: inside its domain, where they need not leave it.

For a port that declares everything nothing here changes anything.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from spec_tests.chapters.memory_step.calls import case, every_rule, fresh, rule
from spec_tests.chapters.memory_step.loop import Config, Inputs
from spec_tests.contract.domain import length, settled
from spec_tests.port import Array, Declaration, Feature, Numerics, Port, Scalar

CONSTANT: Final = {
    Feature.VARYING_RETENTION: "retention",
    Feature.VARYING_MOMENTUM: "momentum_decay",
    Feature.VARYING_STEP: "step_size",
}
ONES: Final = {Feature.RETENTION: "retention", Feature.WINDOW_WEIGHTS: "window_weights"}
"""Gates that are one number, or 1, in the calls of a port without these features."""


def rules_of(port: Port) -> Iterator[dict[str, Scalar]]:
    """Yield a configuration of each rule with each memory; what a port does not declare is replaced by what it does."""
    yield from _declared(port, every_rule(), {})


def rules_in(port: Port, numerics: Numerics, **changes: Scalar) -> Iterator[dict[str, Scalar]]:
    """Yield every rule in float64 and two of them elsewhere: for properties that precision does not touch.

    What a port does not declare is replaced by what it does, but for the `changes`.
    """
    few = (rule("omega", "matrix", **changes), rule("atlas", "mlp", **changes))
    yield from _declared(port, every_rule(**changes) if numerics is Numerics.F64 else few, changes)


def each_rule(port: Port, numerics: Numerics, **changes: Scalar) -> Iterator[dict[str, Scalar]]:
    """Yield what `rules_in` does, but of each rule only one memory: the matrix and the MLP in turn."""
    if numerics is Numerics.F64:
        half = (config for i, config in enumerate(every_rule(**changes)) if i % 4 in (0, 3))
        yield from _declared(port, half, changes)
    else:
        yield from rules_in(port, numerics, **changes)


def _declared(port: Port, configs: Iterable[Config], changes: Config) -> Iterator[dict[str, Scalar]]:
    """Yield each configuration as the port declares it, once."""
    known: list[dict[str, Scalar]] = []
    for config in configs:
        found = settled(port.declare(), config, keep=tuple(changes))
        if found not in known:
            known.append(found)
            yield found


def declared_case(
    port: Port, config: Config, *, batch: int = 2, time: int = 12, window: int = 3, seed: int = 1, document: int = 12
) -> dict[str, Array]:
    """Return what `calls.case` does, without what the port's declaration leaves out and a call can do without."""
    declaration = port.declare()
    inputs = case(
        config,
        batch=length(declaration, "batch", batch),
        time=length(declaration, "time", time),
        window=length(declaration, "window", window),
        seed=seed,
        document=document,
    )
    return without(declaration, inputs)


def without(declaration: Declaration, inputs: Inputs) -> dict[str, Array]:
    """Return a call without those features that a declaration leaves out and that a call can do without."""
    changed = dict(fresh(inputs) if Feature.STATE in declaration.without else inputs)
    if Feature.RESETS in declaration.without:
        changed["reset"] = 0 * changed["reset"]
    if Feature.PHASES in declaration.without:
        changed["position"] = 0 * changed["position"] + changed["position"][-1:]
    if Feature.MOMENTUM in declaration.without:
        changed |= {name: 0.0 * changed[name] for name in ("momentum", "momentum_decay")}
    for feature, name in CONSTANT.items():
        if feature in declaration.without and changed[name].size:
            changed[name] = np.full_like(changed[name], changed[name].flat[0])
    for feature, name in ONES.items():
        if feature in declaration.without:
            changed[name] = np.ones_like(changed[name])
    return changed
