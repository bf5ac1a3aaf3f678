"""Features are read off a question, and what a declaration is without is asked nowhere and counted as absent."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from spec_tests.chapters.memory_step.calls import rule
from spec_tests.chapters.memory_step.stored_calls import FIXED, at_the_start, call, fixed, without_momentum
from spec_tests.contract.absence import absence
from spec_tests.contract.features import MEANING, features_of
from spec_tests.contract.test_driver import SOUND
from spec_tests.port import Array, Feature, Numerics, Op, Scalar
from spec_tests.process.protocol import hello_reply, parse_hello_reply
from spec_tests.report.model import DeclarationRecord
from spec_tests.vectors.case import absent, load_cases

GUIDE: Final = Path(__file__).parents[2] / "docs" / "porting.md"
Config = dict[str, Scalar]
Inputs = Mapping[str, Array]

PLAIN: Final[Config] = rule("omega", chunk=1)


def plainest() -> dict[str, Array]:
    """Return a call of the memory that has nothing but gates of 0 and 1."""
    inputs = without_momentum(fixed(at_the_start(call(PLAIN, 1, **FIXED))))
    return {**inputs, "step_size": np.full_like(inputs["step_size"], 0.5)}


def entered(inputs: Inputs, places: tuple[int, ...], tokens: int) -> dict[str, Array]:
    """Return a call of other rows: one a place in its document, with so many tokens."""
    timed = {name: np.resize(inputs[name], (len(places), tokens, *inputs[name].shape[2:])) for name in TIMED}
    state = {name: np.resize(inputs[name], (len(places), *inputs[name].shape[1:])) for name in CARRIED}
    return {**inputs, **timed, **state, "position": np.array(places)}


TIMED: Final = ("keys", "values", "queries", "retention", "momentum_decay", "step_size", "window_weights", "reset")
CARRIED: Final = ("weights", "momentum", "anchor", "window_keys", "window_values")


def first(inputs: Inputs, name: str, value: float) -> dict[str, Array]:
    """Return the call with another first entry of an input."""
    changed = inputs[name].copy()
    changed.flat[0] = value
    return {**inputs, name: changed}


CHANGES: Final[Mapping[Feature, Callable[[dict[str, Array]], Inputs]]] = {
    Feature.RETENTION: lambda x: {**x, "retention": 0.0 * x["retention"] + 0.75},
    Feature.VARYING_RETENTION: lambda x: first(x, "retention", 0.75),
    Feature.MOMENTUM: lambda x: {**x, "momentum_decay": 0.0 * x["momentum_decay"] + 0.25},
    Feature.VARYING_MOMENTUM: lambda x: first(x, "momentum_decay", 0.25),
    Feature.VARYING_STEP: lambda x: first(x, "step_size", 0.25),
    Feature.WINDOW_WEIGHTS: lambda x: first(x, "window_weights", 0.5),
    Feature.RESETS: lambda x: first(x, "reset", 1),
    Feature.STATE: lambda x: entered(x, (5,), 7),
    Feature.KEY_LENGTHS: lambda x: first(x, "keys", 0.51),
    Feature.D_V: lambda x: {**x, **{name: x[name][..., :3] for name in ("values", "window_values")}},
    Feature.EMPTY: lambda x: entered(x, (0,), 0),
}
IMPLIED: Final = {Feature.VARYING_RETENTION: {Feature.RETENTION}, Feature.VARYING_MOMENTUM: {Feature.MOMENTUM}}


def test_the_plainest_call_has_no_feature_but_gates_that_no_sigmoid_gives() -> None:
    assert features_of(Op.MEMORY_SCAN, PLAIN, plainest()) == {Feature.GATE_ENDS}


@pytest.mark.parametrize("feature", CHANGES)
def test_one_change_of_a_call_gives_it_one_feature(feature: Feature) -> None:
    found = features_of(Op.MEMORY_SCAN, PLAIN, CHANGES[feature](plainest()))
    assert found - {Feature.GATE_ENDS} == {feature} | IMPLIED.get(feature, set())


def test_chunks_of_several_tokens_have_phases_and_insides() -> None:
    config = {**PLAIN, "chunk": 4}

    def found(places: tuple[int, ...], tokens: int) -> set[Feature]:
        features = features_of(Op.MEMORY_SCAN, config, entered(plainest(), places, tokens))
        return set(features) & {Feature.PHASES, Feature.MID_CHUNK}

    assert found((0, 4), 8) == set()
    assert found((0, 4), 7) == {Feature.MID_CHUNK}
    assert found((5, 9), 3) == {Feature.MID_CHUNK}
    assert found((0, 5), 4) == {Feature.MID_CHUNK, Feature.PHASES}


MATRICES: Final[Mapping[str, tuple[Array, set[Feature]]]] = {
    "square": (np.ones((1, 3, 3)), set()),
    "wide": (np.ones((1, 2, 3)), {Feature.RECTANGLES}),
    "one of zeros": (np.stack([np.ones((3, 3)), np.zeros((3, 3))]), {Feature.ZERO}),
    "with some zeros": (np.eye(3)[None], set()),
    "small": (np.full((1, 3, 3), 1e-20), {Feature.RANGE}),
    "large": (np.full((1, 3, 3), 1e20), {Feature.RANGE}),
    "with a small entry": (np.eye(3)[None] + 1e-20, set()),
    "none": (np.ones((0, 3, 3)), {Feature.EMPTY}),
}


@pytest.mark.parametrize("name", MATRICES)
def test_matrices_have_the_features_of_their_shapes_and_sizes(name: str) -> None:
    matrix, wanted = MATRICES[name]
    assert features_of(Op.NEWTON_SCHULZ, {"steps": 5, "coefficients": "quintic"}, {"matrix": matrix}) == wanted


@pytest.mark.parametrize("feature", Feature)
def test_every_feature_is_in_a_stored_case_and_no_port_without_it_is_asked_that_one(feature: Feature) -> None:
    port = replace(SOUND, without=frozenset({str(feature)}))
    having = [case for case in load_cases() if feature in features_of(case.op, case.config, case.inputs)]
    assert having, f"no stored case has {feature}: nothing would be left out for its sake"
    for case in load_cases():
        reason = absence(port, case.op, case.config, case.inputs, Numerics.F64, gradients=False)
        assert (reason is not None) == (case in having), f"{case.id}: {reason}"
        assert reason is None or f"without {feature}" in reason


@pytest.mark.parametrize("op", [Op.MEMORY_STEP, Op.MEMORY_SCAN, Op.MEMORY_CHUNKED])
@pytest.mark.parametrize("feature", sorted(set(Feature) - {Feature.GATE_ENDS}))
def test_a_memory_that_lacks_one_feature_or_all_is_still_asked(op: Op, feature: Feature) -> None:
    for without in ({str(feature)}, set(Feature) - {Feature.GATE_ENDS, Feature.MOMENTUM}):
        port = replace(SOUND, without=frozenset(without))
        asked = [case.id for case in load_cases(op=op) if absent(port, case, Numerics.F64) is None]
        assert asked


def test_a_name_that_is_no_feature_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"without: no feature is called 'retentoin'; valid: retention, .*, empty"):
        replace(SOUND, without=frozenset({"retentoin"}))


def test_a_declaration_keeps_what_it_is_without_in_the_protocol_and_in_reports() -> None:
    port = replace(SOUND, without=frozenset({"resets", "d_v"}))
    assert parse_hello_reply(hello_reply(port).line()) == port
    assert DeclarationRecord.of(port).declaration() == port


@pytest.mark.skipif(not GUIDE.is_file(), reason="the documentation is in the source tree, not in the wheel")
def test_the_guide_says_what_every_feature_is() -> None:
    rows = dict(re.findall(r"^\| `([a-z_-]+)` \| (.*) \|$", GUIDE.read_text(), re.MULTILINE))
    assert {feature: rows.get(feature) for feature in Feature} == MEANING
