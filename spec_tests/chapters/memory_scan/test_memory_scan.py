"""docs/spec/memory_scan.md over whole calls, in both forms: the loop, documents, splits, rows, causality, gates."""

import numpy as np
import pytest

from spec_tests.chapters.memory_scan.documents import STARTS, assert_row, in_documents, with_tokens_from
from spec_tests.chapters.memory_scan.drawn_calls import MemoryCall, memory_calls
from spec_tests.chapters.memory_step.calls import (
    ARCHITECTURES,
    RULES,
    assert_loop,
    case,
    expected,
    forms,
    fresh,
    rule,
    tokens,
)
from spec_tests.chapters.memory_step.declared import declared_case, each_rule, rules_in
from spec_tests.chapters.memory_step.loop import GATES, STATE, TOKENS
from spec_tests.contract.domain import fitting, settled, within
from spec_tests.contract.driver import assert_close, assert_same, precisions, run
from spec_tests.contract.properties import assert_any_split_agrees, assert_computes, unchanged
from spec_tests.drawing.inputs import generator
from spec_tests.drawing.pairwise import covering
from spec_tests.drawing.strategies import hold
from spec_tests.port import Op, Port
from spec_tests.tally import where_declared

VARIANTS = {
    "name": RULES,
    "architecture": ARCHITECTURES,
    "time": (1, 6, 11),
    "chunk": (1, 4, 16),
    "window": (1, 2, 8),
    "boundary": ("carry", "truncate"),
    "read": ("post", "pre"),
    "loss_scale": (0.5, 1.0),
    "step_scale": ("literal", "mass"),
}


@pytest.mark.spec("MEM-2", "MEM-4", "MEM-6")
def test_reads_and_last_state_are_those_of_the_loop(port: Port) -> None:
    for numerics in precisions(port):
        for seed, cell in enumerate(covering(within(port.declare(), VARIANTS, name="rule"))):
            with where_declared():
                time, window = cell.pop("time"), cell.pop("window")
                config = rule(**cell)
                result = run(
                    port,
                    Op.MEMORY_SCAN,
                    numerics,
                    declared_case(port, config, time=time, window=window, seed=seed, document=5),
                    **config,
                )
                assert_loop(result, config)


@pytest.mark.spec("MEM-2", "CHUNK-5")
def test_random_calls_give_what_the_loop_gives_in_every_form(port: Port) -> None:
    def equals(call: MemoryCall) -> None:
        for op, numerics in forms(port):
            with where_declared():
                assert_loop(run(port, op, numerics, call.inputs(), **call.config), call.config)

    hold(memory_calls(port), equals, examples=20)


@pytest.mark.spec("MEM-4")
def test_reading_before_the_write_is_reading_the_token_before_after_its_write(port: Port) -> None:
    for op, numerics in forms(port):
        for config in rules_in(port, numerics, read="pre"):
            with where_declared():
                inputs = declared_case(port, config, time=7, seed=3)
                inputs["reset"][:] = 0
                earlier = {**inputs, "queries": np.roll(inputs["queries"], -1, axis=1)}
                pre = run(port, op, numerics, inputs, **config)
                post = run(port, op, numerics, earlier, **{**config, "read": "post"})
                pre.assert_close("reads", np.concatenate([pre["reads"][:, :1], post["reads"][:, :-1]], axis=1))
                for name in STATE:
                    pre.assert_close(name, post[name])
                assert_loop(pre, config)


@pytest.mark.spec("MEM-5")
def test_a_reset_equals_a_fresh_start_whatever_came_before(port: Port) -> None:
    for op, numerics in forms(port):
        for seed, config in enumerate(each_rule(port, numerics, step_scale="mass")):
            with where_declared():
                inputs, other = in_documents(config, seed), case(config, batch=3, time=14, window=4, seed=seed + 50)
                foreign = {**inputs, **{name: other[name].copy() for name in STATE[:-1]}}
                for row, start in STARTS:
                    for name in TOKENS[:-1]:
                        foreign[name] = foreign[name].copy()
                        foreign[name][row, :start] = other[name][row, :start]
                before, after = (run(port, op, numerics, given, **config) for given in (inputs, foreign))
                for row, start in STARTS:
                    with where_declared():
                        alone = fresh(tokens(inputs, slice(start, None)))
                        alone["reset"] = 0 * alone["reset"]
                        first = run(port, op, numerics, alone, **config)
                        for result, what in ((after, "after another past"), (first, "of a fresh start")):
                            assert_row(result, before, row, start, what)
                assert_loop(before, config)


@pytest.mark.spec("MEM-5")
def test_a_document_may_begin_at_any_token(port: Port) -> None:
    def begins(call: MemoryCall) -> None:
        start = call.sequence.cuts[0] % call.sequence.time
        inputs = call.inputs()
        inputs["reset"][0, start:] = 0
        inputs["reset"][0, start] = 1
        alone = fresh(tokens(inputs, slice(start, None)))
        for op, numerics in forms(port):
            with where_declared():
                before = run(port, op, numerics, inputs, **call.config)
                assert_computes(before)
                first = run(port, op, numerics, alone | {"reset": 0 * alone["reset"]}, **call.config)
                assert_row(first, before, 0, start, f"of a document from token {start}")

    hold(memory_calls(port, shortest=1), begins, examples=8)


@pytest.mark.spec("MEM-5")
def test_a_call_that_begins_a_document_finds_m_0_whatever_its_state_holds(port: Port) -> None:
    for op, numerics in forms(port):
        for config in each_rule(port, numerics):
            with where_declared():
                inputs = case(config, time=6, window=4, seed=4)
                inputs["reset"][:] = 0
                before = run(port, op, numerics, fresh(inputs), **config)
                # Without tokens; marked, from one phase of the chunk; and one of them marked, whose phases then differ.
                for position, marks in ((0, (0, 0)), (6, (1, 1)), (6, (1, 0))):
                    with where_declared():
                        inputs["position"][:], inputs["reset"][:, 0] = position, marks
                        after = run(port, op, numerics, inputs, **config)
                        for row in range(1 if marks == (1, 0) else 2):
                            assert_row(after, before, row, 0, f"from position {position}")
                assert_loop(before, config)


@pytest.mark.spec("MEM-6")
def test_the_state_holds_the_last_pairs_of_the_document_and_the_number_of_its_tokens(port: Port) -> None:
    config = rule("omega")
    for op, numerics in forms(port):
        for time in (1, 2, 7):
            with where_declared():
                inputs = case(config, batch=3, time=time, window=4, seed=time, document=100)
                inputs["position"] = np.array([1, 20, 20])
                inputs["reset"][2, time - 1] = 1
                for name in ("window_keys", "window_values"):
                    inputs[name][0, :2], inputs[name][1:] = 0.0, generator(time).standard_normal(inputs[name][1:].shape)
                result = run(port, op, numerics, inputs, **config)
                for name, new in (("window_keys", "keys"), ("window_values", "values")):
                    past = np.concatenate([result.inputs[name], result.inputs[new]], axis=1)[:, -3:]
                    past[0, : max(0, 3 - 1 - time)] = 0.0
                    past[2, :2] = 0.0
                    assert_same(result[name], past, f"{op} {name} after {time} tokens")
                assert_same(result["position"], np.array([1 + time, 20 + time, 1]), f"{op} position")


@pytest.mark.spec("MEM-7")
def test_any_split_into_calls_agrees_and_an_empty_call_returns_its_state(port: Port) -> None:
    def agrees(call: MemoryCall) -> None:
        inputs = call.inputs()
        for op, numerics in forms(port):
            with where_declared():
                assert_any_split_agrees(port, op, numerics, inputs, [call.sequence.pieces], **call.config)

    hold(memory_calls(port, shortest=1), agrees, examples=10)
    for op, numerics in forms(port):
        for seed, config in enumerate(each_rule(port, numerics)):
            with where_declared():
                inputs = declared_case(port, config, time=6, window=4, seed=seed, document=5)
                # Neither part is a whole chunk of four, and the second is shorter than one.
                assert_any_split_agrees(port, op, numerics, inputs, [[slice(0, 5), slice(5, 6)]], **config)
                empty = run(port, op, numerics, tokens(inputs, slice(0, 0)), **config)
                for name in STATE:
                    assert_same(empty[name], empty.inputs[name], f"{op} {name} after an empty call")


@pytest.mark.spec("MEM-8")
def test_rows_are_independent_through_their_state_too(port: Port) -> None:
    def independent(call: MemoryCall) -> None:
        inputs, other = call.inputs(), call.inputs(seed=1)
        order = generator(call.sequence.seed).permutation(call.sequence.batch)
        rows = {name: value for name, value in inputs.items() if name != "initial"}
        permuted = inputs | {name: value[order] for name, value in rows.items()}
        strangers = inputs | {name: np.concatenate([other[name][:-1], value[-1:]]) for name, value in rows.items()}
        for op, numerics in forms(port):
            with where_declared():
                whole, turned, among = (
                    run(port, op, numerics, x, **call.config) for x in (inputs, permuted, strangers)
                )
                assert_computes(whole)
                for name, value in whole.outputs.items():
                    tolerance, what = unchanged(whole, name), f"{op} {name} in {numerics}"
                    assert_close(turned[name], value[order], tolerance, f"{what} with rows permuted")
                    assert_close(among[name][-1:], value[-1:], tolerance, f"{what} of a row among others")
                    indifferent = name in ("reads", "weights") and np.allclose(among[name][:-1], value[:-1])
                    assert not indifferent, f"{what} ignores its own row"

    hold(memory_calls(port, shortest=1, fewest=2, chunks=(3,)), independent, examples=8)


@pytest.mark.spec("MEM-9")
def test_a_read_depends_on_its_own_and_earlier_tokens_and_on_no_later_ones(port: Port) -> None:
    for op, numerics in forms(port):
        for config in each_rule(port, numerics, chunk=fitting(port.declare(), "chunk", 5)):
            with where_declared():
                inputs = declared_case(port, config, time=7, seed=8)
                other = declared_case(port, config, time=7, document=3, seed=9)
                inputs["reset"][:] = 0
                before = run(port, op, numerics, inputs, **config)["reads"]
                for t in (0, 5):
                    with where_declared():
                        after = run(port, op, numerics, with_tokens_from(inputs, other, slice(t, None)), **config)[
                            "reads"
                        ]
                        assert not np.allclose(after[:, t], before[:, t]), (
                            f"{op} {config['rule']} reads ignore their token {t}"
                        )
                silent = {**other, "reset": inputs["reset"]}
                later = run(port, op, numerics, with_tokens_from(inputs, silent, slice(3, 4)), **config)["reads"]
                for t in range(4, 7):
                    gap = np.abs(later[:, t] - before[:, t]).max()
                    assert gap > 1e-4 * np.abs(before).max(), f"{op} {config['rule']} read {t} ignores token 3"

    def causal(call: MemoryCall) -> None:
        t = call.sequence.cuts[0]
        changed = with_tokens_from(call.inputs(), call.inputs(seed=1), slice(t, None))
        for op, numerics in forms(port):
            with where_declared():
                before = run(port, op, numerics, call.inputs(), **call.config)
                after = run(port, op, numerics, changed, **call.config)["reads"]
                what = f"{op} reads before a change at {t} in {numerics}"
                assert_close(after[:, :t], before["reads"][:, :t], unchanged(before, "reads"), what)

    hold(memory_calls(port, shortest=1), causal, examples=8)


@pytest.mark.spec("MEM-10")
def test_writes_below_the_precision_of_the_activations_add_up(port: Port) -> None:
    config = settled(port.declare(), rule("omega", chunk=1))
    for op, numerics in forms(port):
        with where_declared():
            inputs = declared_case(port, config, time=32, window=1, seed=10)
            inputs |= {"reset": 0 * inputs["reset"], "position": np.array([5, 6])}
            inputs |= {"step_size": 1e-4 * inputs["step_size"], "retention": np.ones_like(inputs["retention"])}
            inputs["momentum"] *= 0.0
            halves = [tokens(inputs, slice(0, 16)), tokens(inputs, slice(16, 32))]
            first = run(port, op, numerics, halves[0], **config)
            second = run(port, op, numerics, halves[1] | {name: first[name] for name in STATE}, **config)
            whole = {name: np.concatenate([first.inputs[name], second.inputs[name]], axis=1) for name in TOKENS}
            wanted = expected(config, {**first.inputs, **whole})
            change = wanted["weights"] - first.inputs["weights"]
            assert_close(second["weights"] - first.inputs["weights"], change, 1e-2, f"{op} sum of small writes")


@pytest.mark.spec("MEM-11")
def test_gates_at_and_near_their_ends_give_what_the_loop_gives(port: Port) -> None:
    ends = np.array([0.0, 1.0, 1e-9, 1.0 - 1e-9, 0.4])
    longer = fitting(port.declare(), "chunk", 6)
    for op, numerics in forms(port):
        for seed, config in enumerate(rules_in(port, numerics, chunk=longer, coefficients="cubic")):
            # One gate alone, another for each rule; then all that may be 0 and 1 together.
            for names in ((GATES[seed % len(GATES)],), ("retention", "momentum_decay", "window_weights")):
                with where_declared():
                    inputs = declared_case(port, config, time=7, seed=seed, document=100)
                    for name in names:
                        inputs[name] = generator(seed).choice(ends, inputs[name].shape)
                    result = run(port, op, numerics, inputs, **config)
                    assert_loop(result, config, factor=10.0)


@pytest.mark.spec("RULE-8")
def test_titans_and_omega_agree_under_a_constant_step_size(port: Port) -> None:
    for op, numerics in forms(port):
        for scale in ("literal", "mass"):
            with where_declared():
                omega, titans = rule("omega", step_scale=scale), rule("titans", step_scale=scale)
                inputs = case(omega, time=12, seed=11)
                inputs["step_size"] = np.full_like(inputs["step_size"], 0.03)
                step = 0.03 if scale == "literal" else 0.03 / (4 + 9.0)
                wanted = run(port, op, numerics, inputs, **omega)
                actual = run(port, op, numerics, {**inputs, "momentum": -step * inputs["momentum"]}, **titans)
                for name in ("reads", "weights", "anchor"):
                    actual.assert_close(name, wanted[name])
                actual.assert_close("momentum", -step * wanted["momentum"])
                assert_loop(wanted, omega)
