"""docs/spec/memory_window.md: which pairs a write looks at, and with what weight, in both forms over a sequence."""

import numpy as np
import pytest

from spec_tests.chapters.memory_step.calls import FEATURES, VALUES, case, forms, rule, tokens
from spec_tests.chapters.memory_step.declared import rules_in
from spec_tests.chapters.memory_step.loop import STATE, Inputs
from spec_tests.contract.driver import Result, assert_close, run
from spec_tests.contract.properties import unchanged
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.tally import where_declared

WINDOW = 4


def still(inputs: Inputs) -> dict[str, Array]:
    """Return the call with gates under which S is exactly the windowed gradient and M stays as it is."""
    gates = {"momentum_decay": 0.0, "step_size": 0.0, "retention": 1.0}
    return {**inputs, **{name: np.full_like(inputs[name], value) for name, value in gates.items()}}


def middle(config: dict[str, bool | int | float | str], time: int, position: int, seed: int) -> dict[str, Array]:
    """Return a call of rows that are all `position` tokens into one long document."""
    inputs = case(config, time=time, window=WINDOW, seed=seed)
    rng = generator(seed)
    for name in ("window_keys", "window_values"):
        inputs[name] = rng.standard_normal(inputs[name].shape)
        inputs[name][:, : max(0, WINDOW - 1 - position)] = 0.0
    return inputs | {"reset": 0 * inputs["reset"], "position": np.full(2, position)}


def pair_gradients(inputs: Inputs, anchor: Array) -> Array:
    """Return (W k - v) k^T for the window and the tokens, oldest first: [batch, past + time, heads, parameters]."""
    keys = np.concatenate([inputs["window_keys"], inputs["keys"]], axis=1)
    values = np.concatenate([inputs["window_values"], inputs["values"]], axis=1)
    weights = anchor.reshape(*anchor.shape[:2], VALUES, FEATURES)
    error = np.einsum("bhvf,bthf->bthv", weights, keys) - values
    return np.asarray(np.einsum("bthv,bthf->bthvf", error, keys).reshape(*keys.shape[:3], -1))


def summed(inputs: Inputs, anchor: Array, ages: range) -> Array:
    """Return sum_a gamma[t, a] grad(anchor; pair of t - a) for the last token t."""
    gradients, gamma = pair_gradients(inputs, anchor), inputs["window_weights"][:, -1]
    return np.asarray(sum(gamma[:, :, a, None] * gradients[:, -1 - a] for a in ages))


@pytest.mark.spec("WIN-1")
def test_a_pair_weighs_what_the_gate_of_the_writing_token_says_at_its_age(port: Port) -> None:
    config = rule("omega", chunk=8)
    for op, numerics in forms(port):
        for time in (1, 3, 6):
            with where_declared():
                inputs = still(middle(config, time, position=8, seed=time))
                result = run(port, op, numerics, inputs, **config)
                result.assert_close("momentum", summed(result.inputs, result.inputs["weights"], range(WINDOW)))


@pytest.mark.spec("WIN-2")
def test_tokens_that_the_document_does_not_have_never_count(port: Port) -> None:
    for op, numerics in forms(port):
        for config in rules_in(port, numerics, chunk=3):
            with where_declared():
                window = 1 if config["rule"] == "delta" else WINDOW
                inputs = case(config, time=5, window=window, seed=3)
                inputs |= {"position": np.array([2, 30]), "reset": np.array([[0, 0, 0, 0, 0], [0, 0, 0, 1, 0]])}
                foreign = {name: value.copy() for name, value in inputs.items()}
                for name in ("window_keys", "window_values"):
                    # Row 0 has two tokens: the oldest place is dead. Row 1 begins again at token 3.
                    foreign[name][0, :1] = 100.0
                before, after = (run(port, op, numerics, given, **config) for given in (inputs, foreign))
                for name in before.outputs:
                    what = f"{op} {config['rule']} {name} with a dead place filled"
                    assert_close(after[name], before[name], unchanged(before, name), what)
    config = rule("omega", chunk=8)
    for op, numerics in forms(port):
        for time in (1, 2, 3):
            with where_declared():
                inputs = still(middle(config, time, position=0, seed=time))
                result = run(port, op, numerics, inputs, **config)
                start = np.broadcast_to(result.inputs["initial"], result.inputs["weights"].shape)
                result.assert_close("momentum", summed(result.inputs, start, range(time)))


def carried_in_two_calls(port: Port, op: Op, numerics: Numerics, boundary: str, ages: range) -> None:
    """Assert the first write of a chunk, whose window reaches into the call before: a call ends where a chunk does."""
    config = rule("omega", chunk=3, boundary=boundary)
    inputs = middle(config, 7, position=2, seed=5)
    first = run(port, op, numerics, tokens(inputs, slice(0, 4)), **config)
    state = {name: first[name] for name in STATE}
    last = still(tokens(inputs, slice(4, 5)))
    result = run(port, op, numerics, last | state, **config)
    # Positions 2 .. 5, then position 6 opens a chunk: its xi is the M that the first call returned.
    result.assert_close("anchor", first["weights"])
    result.assert_close("momentum", summed(result.inputs, first["weights"], ages))
    whole = run(port, op, numerics, still(tokens(inputs, slice(4, 7))) | state, **config)
    oldest = range(WINDOW) if boundary == "carry" else range(3)
    whole.assert_close("momentum", summed(whole.inputs, first["weights"], oldest))


@pytest.mark.spec("WIN-3")
def test_a_carried_window_reaches_over_borders_and_is_evaluated_at_the_new_anchor(port: Port) -> None:
    for op, numerics in forms(port):
        with where_declared():
            carried_in_two_calls(port, op, numerics, "carry", range(WINDOW))


@pytest.mark.spec("WIN-4")
def test_a_truncated_window_stops_at_the_start_of_the_chunk(port: Port) -> None:
    for op, numerics in forms(port):
        with where_declared():
            carried_in_two_calls(port, op, numerics, "truncate", range(1))


def last_pairs(result: Result) -> dict[str, Array]:
    return {name: result[name] for name in ("window_keys", "window_values")}


@pytest.mark.spec("WIN-5")
def test_literal_weights_add_up_and_ages_of_weight_zero_do_not_count(port: Port) -> None:
    for op, numerics in forms(port):
        for config in (rule("omega"), rule("titans", "mlp"), rule("atlas")):
            with where_declared():
                wide = case(config, time=6, window=WINDOW, seed=7)
                wide["window_weights"][..., 1:] = 0.0
                narrow = {**wide, "window_weights": wide["window_weights"][..., :1]}
                narrow |= {name: wide[name][:, :0] for name in ("window_keys", "window_values")}
                one, many = run(port, op, numerics, narrow, **config), run(port, op, numerics, wide, **config)
                for name in ("reads", "weights", "momentum", "anchor"):
                    many.assert_close(name, one[name])
    config = rule("omega", chunk=8)
    for op, numerics in forms(port):
        with where_declared():
            inputs = still(middle(config, 5, position=8, seed=8))
            for name, pairs in (("keys", "window_keys"), ("values", "window_values")):
                same = inputs[name][:, :1]
                inputs[name], inputs[pairs] = same.repeat(5, axis=1), same.repeat(WINDOW - 1, axis=1)
            inputs["window_weights"] = np.ones_like(inputs["window_weights"])
            # The same pair at every age, its window rounded to the precision of the tokens.
            result = run(port, op, numerics, inputs, **config)
            result = run(port, op, numerics, inputs | last_pairs(result), **config)
            single = pair_gradients(result.inputs, result.inputs["weights"])[:, -1]
            result.assert_close("momentum", WINDOW * single)
