"""docs/spec/mac.md: what is left of MAC with a memory of zeros that is never written, by the loops of attention."""

from collections.abc import Mapping

import numpy as np
import pytest

from spec_tests.chapters.attention.oracle import sliding_window_attention
from spec_tests.chapters.blocks.operation import MODEL
from spec_tests.chapters.mac.calls import MAC, call, config, unmarked
from spec_tests.contract.by_loops import assert_answers
from spec_tests.contract.driver import assert_close, precisions, run
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.properties import unchanged
from spec_tests.oracle.sigmoid import sigmoid
from spec_tests.oracle.sums import FORWARD
from spec_tests.port import Array, Port
from spec_tests.tally import where_declared

KINDS = ("causal", "previous_segment", "learned")
STATE = tuple(tensor.name for tensor in OPERATIONS[MAC].outputs if tensor.name != "y")
CLOSED = -1e3
"""A bias whose sigmoid is zero in every precision."""


def unwritten(seed: int, span: int) -> dict[str, Array]:
    """Return a document from its first token, over a memory of zeros whose steps are zero."""
    inputs = unmarked(call(seed, (0, 0), span=span))
    (heads, _), empty = inputs["log_gain"].shape, {name: 0 * inputs[name] for name in (*STATE, "initial")}
    weight, bias = inputs["gates_weight"].copy(), inputs["gates_bias"].copy()
    weight[2 * heads : 3 * heads], bias[2 * heads : 3 * heads] = 0.0, CLOSED
    return {**inputs, **empty, "gates_weight": weight, "gates_bias": bias}


def scaled(x: Array, scale: Array) -> Array:
    """Return x over its root mean square, times a scale."""
    return np.asarray(x / np.sqrt((x**2).mean(-1, keepdims=True) + float(MODEL["norm_eps"])) * scale)


def turned(x: Array, places: Array) -> Array:
    """Return vectors [tokens, heads, dim] turned as complex numbers, a pair each."""
    pairs = x[..., ::2] + 1j * x[..., 1::2]
    angles = places[:, None] * float(MODEL["rope_base"]) ** (-np.arange(0, x.shape[-1], 2) / x.shape[-1])
    pairs = pairs * np.exp(1j * angles)[:, None]
    return np.stack([pairs.real, pairs.imag], axis=-1).reshape(x.shape)


def blank_rows(kind: str, t: int, span: int, learned: int) -> int:
    """Return how many rows of zeros stand before token t."""
    return {"causal": t % span + 1, "previous_segment": span * (t >= span), "learned": learned}[kind]


def attended(x: Mapping[str, Array], row: int, kind: str, span: int) -> Array:
    """Return plain causal attention of every token over its segment, behind persistent tokens and rows of zeros."""
    heads, dim = x["cache_keys"].shape[-2:]
    n, places = scaled(x["x"][row], x["norm"]), np.arange(x["x"].shape[1])
    queries, keys, values = ((n @ part.T).reshape(-1, heads, dim) for part in np.split(x["attention_projection"], 3))
    _, first_keys, first_values = (x["persistent"] @ part.T for part in np.split(x["attention_projection"], 3))
    queries, keys, found = turned(queries, places), turned(keys, places), []
    for t in places:
        segment = slice(t - t % span, t + 1)
        zeros = np.zeros((blank_rows(kind, int(t), span, len(x["row_queries"])), heads, dim))
        tokens = {"queries": queries[segment], "keys": keys[segment], "values": values[segment]}
        given = {
            **{name: value[None] for name, value in tokens.items()},
            "persistent_keys": np.concatenate([first_keys.reshape(-1, heads, dim), zeros]),
            "persistent_values": np.concatenate([first_values.reshape(-1, heads, dim), zeros]),
            **{name: np.zeros((1, span - 1, heads, dim)) for name in ("cache_keys", "cache_values")},
            "position": np.arange(t % span + 1)[None],
        }
        found.append(sliding_window_attention(given, span, FORWARD)["output"][0, -1].ravel())
    return np.stack(found)


def plain(x: Mapping[str, Array], row: int, kind: str, span: int) -> Array:
    """Return x plus what attention alone adds through the learned gate."""
    floor = float(MODEL["floor"])
    gate = sigmoid(scaled(x["x"][row], x["norm"]) @ x["gate_weight"].T + x["gate_bias"])
    share = (floor + (1.0 - floor) * gate) * scaled(attended(x, row, kind, span), x["attention_norm"])
    return np.asarray(x["x"][row] + share @ x["output"].T)


@pytest.mark.long
@pytest.mark.spec("MAC-2", "MAC-3", "MAC-5")
def test_a_memory_of_zeros_leaves_plain_causal_attention_behind_a_prefix(port: Port) -> None:
    # A segment longer than the document; several; one of a single token, which sees P, its row and itself.
    for numerics in precisions(port):
        for number, span in enumerate((10, 4, 1)):
            for kind in KINDS:
                with where_declared():
                    given = config(rows=kind, chunk=1 if span == 1 else 2)
                    result = run(port, MAC, numerics, unwritten(51 + number, span), **given)
                    wanted = [plain(result.inputs, row, kind, span) for row in range(2)]
                    result.assert_close("y", np.stack(wanted), factor=4.0)


@pytest.mark.long
@pytest.mark.spec("MAC-1", "MAC-4")
def test_steps_of_zero_and_a_first_memory_of_zeros_leave_rows_and_reads_of_zero(port: Port) -> None:
    """What rows and reads are made with counts for nothing, and the memory stays what it was."""
    inputs = unwritten(54, 4)
    others = call(55, (0, 0))
    asked = ("row_projection", "row_convolution", "row_queries", "row_output", "row_norm")
    read = ("memory_projection", "convolution", "memory_input", "memory_input_norm", "memory_norm")
    for numerics in precisions(port):
        for kind in KINDS:
            with where_declared():
                result = run(port, MAC, numerics, inputs, **config(rows=kind))
                assert_answers(result, config(rows=kind))
                other = run(
                    port, MAC, numerics, {**inputs, **{n: others[n] for n in (*asked, *read)}}, **config(rows=kind)
                )
                seen = f"rows or reads of zero are seen in {numerics}"
                assert_close(other["y"], result["y"], unchanged(result, "y"), seen)
                for name in ("weights", "segment_weights", "row_keys", "row_values"):
                    assert not result[name].any(), f"{name} of a memory that is never written in {numerics}"
