"""docs/spec/memory_hierarchical.md: the sum of memories against a loop, and against operations that exist."""

from collections.abc import Iterator

import numpy as np
import pytest

from spec_tests.chapters.memory_hierarchical.calls import (
    OF_A_MEMORY,
    STATE,
    TIMED,
    assert_loop,
    case,
    cotangents,
    grid,
    inside,
    settings,
    silent,
    tokens,
)
from spec_tests.chapters.memory_hierarchical.loop import Hierarchy
from spec_tests.chapters.memory_step.loop import Cell, Oracle, Token
from spec_tests.chapters.qk_projection.oracle import qk_projection
from spec_tests.contract.by_loops import SLOPES
from spec_tests.contract.driver import assert_close, assert_same, precisions, run, run_with_gradients
from spec_tests.contract.properties import assert_any_split_agrees, assert_computes, unchanged
from spec_tests.drawing.inputs import generator
from spec_tests.oracle import complex_step
from spec_tests.oracle.sums import ANY_ORDER
from spec_tests.port import Array, Op, Port
from spec_tests.tally import where_declared

OP = Op.MEMORY_HIERARCHICAL


@pytest.mark.long
@pytest.mark.spec("HIER-1", "HIER-2", "HIER-3", "HIER-4", "HIER-6", "HIER-9")
def test_reads_and_last_state_are_those_of_the_loop(port: Port) -> None:
    for numerics in precisions(port):
        for seed, config in enumerate(grid()):
            with where_declared():
                assert_loop(run(port, OP, numerics, case(config, seed=seed, document=5), **config), config)
                assert_loop(run(port, OP, numerics, inside(config, seed + 20, time=11), **config), config)


class AtTheAnchor(Oracle):
    """The memory of chapter MEM, read at the state of its chunk's start."""

    def read(self, cell: Cell, token: Token) -> Array:
        return self.value(cell.anchor, token.query)


def composed(config: dict[str, bool | int | float | str], x: dict[str, Array]) -> Array:
    """Return the reads as the sum of a memory read at its anchor, and of memories that a mark resets in every shard,
    whose queries a Q-K projection with positions in the shard has moved. For rows at the start of a document.
    """
    time, total = x["values"].shape[1], np.zeros(x["values"].shape)
    marks = (x["reset"] != 0) | (np.arange(time) == 0)
    position = np.arange(time) - np.maximum.accumulate(np.where(marks, np.arange(time), 0), axis=1)
    for m, (chunk, shard) in enumerate(zip(x["chunks"].tolist(), x["shards"].tolist(), strict=True)):
        own = {"initial": x["initial"][m]} | {name: x[name][:, m] for name in STATE[:3]}
        own |= {name: x[name][:, :, m] for name in OF_A_MEMORY}
        memory = Oracle if m else AtTheAnchor
        if m:
            span = {"shard": shard, "chunk": chunk, "document": 0}[str(config["projection_span"])]
            since = position % span if span else position
            own["reset"] = np.where(position % shard == 0, 1, 0) if shard else x["reset"]
            moved = qk_projection(x["queries"], x["keys"], x["carry"][:, m - 1], since, ANY_ORDER)
            own["queries"] = moved["projected"]
        total += memory({**config, "chunk": chunk, "read": "post"}).run({**x, **own})["reads"]
    return total


@pytest.mark.spec("HIER-1", "HIER-2", "HIER-3", "HIER-9")
def test_the_sum_is_that_of_operations_that_exist(port: Port) -> None:
    for numerics in precisions(port):
        for span in ("shard", "chunk", "document"):
            with where_declared():
                config = settings("titans", projection_span=span)
                inputs = case(config, chunks=(4, 2, 3, 1), shards=(0, 4, 6, 0), time=13, seed=3, document=9)
                inputs["position"] = 0 * inputs["position"]
                result = run(port, OP, numerics, inputs, **config)
                result.assert_close("reads", composed(config, dict(result.inputs)))


@pytest.mark.spec("HIER-3", "HIER-5")
def test_a_shard_alone_gives_what_it_gives_in_the_document(port: Port) -> None:
    """Both memories that hold nothing are silent, so that the reads are those of one local memory."""
    for numerics in precisions(port):
        for shard in (2, 4):
            with where_declared():
                config = settings("titans")
                inputs = inside(config, 4, (16, 24), chunks=(4, 2), shards=(0, shard))
                # Writes that are large enough for what a border forgets to be seen.
                inputs = silent({**inputs, "step_size": 4.0 * inputs["step_size"]}, 0)
                whole = run(port, OP, numerics, inputs, **config)
                assert_computes(whole)
                fresh = tokens(inputs, slice(shard, 2 * shard)) | {"position": np.array([0, 0])}
                strange = {name: 2.0 * inputs[name] + 1.0 for name in STATE[:-1]}
                alone = run(port, OP, numerics, {**fresh, **strange, "weights": whole.inputs["weights"]}, **config)
                found, wanted = alone["reads"], whole["reads"][:, shard : 2 * shard]
                assert_close(found, wanted, unchanged(whole, "reads"), f"reads of a shard of {shard} in {numerics}")


@pytest.mark.spec("HIER-6")
def test_reads_before_the_first_border_do_not_depend_on_the_length_of_shards(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            config = settings("omega", step_scale="mass")
            inputs = inside(config, 5, (2, 2), chunks=(4, 2), shards=(0, 6))
            short, long = (
                run(port, OP, numerics, {**inputs, "shards": np.array([0, shard])}, **config) for shard in (6, 8)
            )
            same = unchanged(short, "reads")
            assert_close(short["reads"][:, :4], long["reads"][:, :4], same, f"reads before a border in {numerics}")
            assert not np.allclose(short["reads"][:, 4], long["reads"][:, 4]), "a border changes nothing"


@pytest.mark.spec("HIER-10")
def test_local_memories_in_another_order_give_the_same_sum(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            config, order = settings("titans"), [0, 2, 1]
            inputs = inside(config, 6)
            turned = dict(inputs)
            for name in ("chunks", "shards", "initial"):
                turned[name] = inputs[name][order]
            for name in OF_A_MEMORY:
                turned[name] = inputs[name][:, :, order]
            for name in STATE[:3]:
                turned[name] = inputs[name][:, order]
            turned["carry"] = inputs["carry"][:, [1, 0]]
            one, other = (run(port, OP, numerics, x, **config) for x in (inputs, turned))
            assert_computes(one)
            same = unchanged(one, "reads")
            assert_close(other["reads"], one["reads"], same, f"reads of memories in another order in {numerics}")
            for name in STATE[:3]:
                what = f"{name} of memories in another order in {numerics}"
                assert_close(other[name], one[name][:, order], unchanged(one, name), what)


@pytest.mark.spec("HIER-1")
def test_a_memory_that_holds_nothing_and_takes_no_step_adds_nothing(port: Port) -> None:
    """With g the global read and 1, 2 the local ones: g + 1 + 2 = (g + 1) + (g + 2) - g."""
    for numerics in precisions(port):
        with where_declared():
            config = settings("titans", projection_span="none")
            inputs = inside(config, 7)
            whole, first, second, alone = (
                run(port, OP, numerics, silent(inputs, *which), **config) for which in ((), (2,), (1,), (1, 2))
            )
            found, wanted = first["reads"] + second["reads"] - alone["reads"], whole["reads"]
            # Answers in another layout are as additive: the whole is that of the loop.
            assert_loop(whole, config)
            same = 3.0 * unchanged(whole, "reads")
            assert_close(found, wanted, same, f"reads of memories put together in {numerics}")
            assert not np.allclose(alone["reads"], wanted), "local memories add nothing"


@pytest.mark.long
@pytest.mark.spec("HIER-8")
def test_any_split_into_calls_agrees_and_an_empty_call_returns_its_state(port: Port) -> None:
    for numerics in precisions(port):
        for span in ("shard", "document"):
            with where_declared():
                config = settings("titans", projection_span=span)
                inputs = case(config, seed=8, document=7)
                cuts = [[slice(0, 1), slice(1, 1), slice(1, 6), slice(6, 9)], [slice(0, 4), slice(4, 9)]]
                assert_any_split_agrees(port, OP, numerics, inputs, cuts, **config)
                empty = run(port, OP, numerics, tokens(inputs, slice(0, 0)), **config)
                for name in STATE:
                    assert_same(empty[name], empty.inputs[name], f"{name} after an empty call in {numerics}")


@pytest.mark.spec("HIER-8")
def test_rows_are_independent_and_no_read_depends_on_a_later_token(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            config = settings("titans")
            inputs, other = inside(config, 9), inside(config, 10)
            rows = (*TIMED, *STATE)
            strangers = {name: np.concatenate([other[name][:1], inputs[name][1:]]) for name in rows}
            later = {name: np.concatenate([inputs[name][:, :5], other[name][:, 5:]], axis=1) for name in TIMED}
            whole, among, after = (run(port, OP, numerics, {**inputs, **x}, **config) for x in ({}, strangers, later))
            assert_computes(whole)
            for name in ("reads", *STATE):
                what = f"{name} of a row among others in {numerics}"
                assert_close(among[name][1:], whole[name][1:], unchanged(whole, name), what)
            same = unchanged(whole, "reads")
            assert_close(after["reads"][:, :5], whole["reads"][:, :5], same, f"reads before a change in {numerics}")
            assert not np.allclose(after["reads"][:, 5], whole["reads"][:, 5]), "a read ignores its own token"


def _differentiated() -> Iterator[dict[str, bool | int | float | str]]:
    yield settings("titans", step_scale="mass", momentum_max=0.6)
    yield settings("omega", "mlp", projection_span="document")


@pytest.mark.spec("HIER-7")
def test_derivatives_are_those_of_the_loop(port: Port) -> None:
    """W_init gets a part of every shard that begins in the call: three of them here, of one local memory."""
    for numerics in precisions(port):
        for seed, config in enumerate(_differentiated()):
            with where_declared():
                inputs = inside(config, 11 + seed, (3,), batch=1, time=8, heads=1, chunks=(3, 2), shards=(0, 2))
                asked = cotangents(inputs, 12)
                result = run_with_gradients(port, OP, numerics, inputs, asked, **config)
                rng = generator(13)
                for name in (name for name, value in inputs.items() if value.dtype.kind == "f"):
                    found = result[f"grad.{name}"]
                    direction = rng.standard_normal(found.shape)
                    wanted = complex_step.along(Hierarchy(config).run, inputs, {name: direction}, asked)
                    allowed = SLOPES[numerics] * (np.sqrt((found**2).sum() * (direction**2).sum()) + 1.0)
                    actual = float((found * direction).sum())
                    assert abs(actual - wanted) <= allowed, (
                        f"slope by {name} in {numerics}: {actual:.12g}, not {wanted:.12g}"
                    )
