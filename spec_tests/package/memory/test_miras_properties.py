"""What every axis of MIRAS must keep: rows apart, nothing of later tokens, documents afresh, and numbers finite."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.recurrent import MemoryOutput, memory_recurrent
from atlas_ref.memory.shards import Shards
from spec_tests.package.memory.miras_axes import AXES
from spec_tests.package.memory.miras_calls import BATCH, HEADS, TIME, draw, gap, leaves_of, outcome, resets
from spec_tests.package.memory.miras_loop import Options, forward, link, run, soft
from spec_tests.port import Array
from spec_tests.sampling import crossed

FORMS = {"recurrent": memory_recurrent, "chunked": memory_chunked}
Form = Callable[..., MemoryOutput]


def reads(
    form: Form,
    o: Options,
    inputs: dict[str, Array],
    initial: list[Array],
    reset: Array,
    kind: torch.dtype = torch.float64,
) -> Array:
    return outcome(form, o, leaves_of(inputs, initial, kind), reset)["reads"].detach().numpy()


@pytest.mark.parametrize(("name", "of"), crossed(AXES, FORMS))
def test_rows_do_not_mix_and_nothing_later_leaks(name: str, of: str) -> None:
    options, form = AXES[name], FORMS[of]
    inputs, initial = draw(options)
    changed = {name: value.copy() for name, value in inputs.items()}
    for value in changed.values():
        value[1] *= 0.5
        value[0, 5:] *= 0.5
    one, other = (reads(form, options, x, initial, resets(BATCH, TIME, ())) for x in (inputs, changed))
    assert np.array_equal(one[0, :5], other[0, :5])
    assert (one[0, 5:] != other[0, 5:]).any(-1).all(), "a token does see itself"


@pytest.mark.parametrize(("place", "of"), crossed(range(TIME), FORMS))
def test_a_document_that_begins_anywhere_finds_a_0_and_not_what_the_link_makes_of_it(place: int, of: str) -> None:
    form = FORMS[of]
    for options in (AXES["lq"], AXES["memora"], AXES["kda"], AXES["huber_norm every 2"]):
        inputs, initial = draw(options)
        whole = reads(form, options, inputs, initial, resets(BATCH, TIME, (place,)))
        later = {name: value[:, place:] for name, value in inputs.items()}
        alone = reads(form, options, later, initial, resets(BATCH, TIME - place, ()))
        assert gap(whole[0, place:], alone[0]) < 1e-13


def test_rows_of_memora_sum_to_c_over_ten_thousand_tokens_in_float32() -> None:
    """Kills: logits that drift until float32 loses their differences; a softmax that is scaled twice."""
    options, time = replace(AXES["softmax"], chunk=16, window=1, rule="delta"), 10_000
    inputs, initial = draw(options, time=time, batch=1)
    # Nothing is forgotten, keys are positive and every value is too large: all logits of a row rise for ever.
    inputs["log_retention"] *= 0.0
    inputs["keys"], inputs["values"] = np.abs(inputs["keys"]), np.abs(inputs["values"]) + 5.0
    single, double = (
        outcome(memory_chunked, options, leaves_of(inputs, initial, kind), resets(1, time, ()))
        for kind in (torch.float32, torch.float64)
    )
    weights = options.scale * single["weights.0"].double().exp()
    assert (weights.sum(-1) - options.scale).abs().max() < 1e-5
    assert (weights > 0.0).all()
    assert gap(single["reads"].detach().numpy(), double["reads"].detach().numpy()) < 1e-4


def test_what_all_logits_of_a_row_rise_by_costs_the_loop_no_digits_of_float32() -> None:
    """Kills: logits that are centred under every link but softmax, or at the end of a call alone."""
    options, time = replace(AXES["softmax"], chunk=1, window=1, rule="delta"), 80
    inputs, initial = draw(options, time=time, batch=1)
    # Keys are almost one vector of ones, so that a write adds some hundreds to a row and a tenth to a difference in it.
    inputs["log_retention"] *= 0.0
    inputs["keys"], inputs["values"] = 1.0 + 1e-3 * inputs["keys"], 1e3 + inputs["values"]
    same = {name: value.astype(np.float32).astype(np.float64) for name, value in inputs.items()}
    single, double = (
        reads(memory_recurrent, options, same, initial, resets(1, time, ()), kind)
        for kind in (torch.float32, torch.float64)
    )
    assert gap(single, double) < 2e-4


def test_gates_of_zero_and_one_are_exact_on_a_schedule() -> None:
    """Kills: decays by quotients of running products, or by differences of logarithms of zero."""
    for name in ("gated deltanet", "kda", "retained rows", "implicit columns", "delta of columns"):
        options = AXES[name]
        inputs, initial = draw(options, time=12)
        ends = np.resize([0.0, -np.inf, 0.0, -0.3, -np.inf], inputs["log_retention"].shape)
        inputs["log_retention"] = ends
        found = []
        for form in (memory_recurrent, partial(memory_chunked, schedule=5)):
            leaves = leaves_of(inputs, initial)
            output = outcome(form, options, leaves, resets(BATCH, 12, ()))
            names = ("keys", "values", "step_size", "queries")
            slopes = torch.autograd.grad(output["reads"].square().sum(), [leaves[name] for name in names])
            assert all(bool(torch.isfinite(slope).all()) for slope in slopes)
            found.append([output["reads"].detach().numpy(), *(slope.numpy() for slope in slopes)])
        assert all(gap(b, a) < 1e-12 for a, b in zip(*found, strict=True))


@pytest.mark.parametrize(("mass", "every"), [(False, 1), (True, 1), (False, 2)])
def test_the_omega_loss_of_a_bias_with_thresholds_is_that_of_the_errors_in_each_window(mass: bool, every: int) -> None:
    """Kills: the slots of one token counted for another; psi taken for the error; weights as `mass` divides them; a
    loss of tokens that do not write.
    """
    # One chunk: all gradients are taken at A_0, and every loss is written in the call.
    o = replace(AXES["huber_norm"], chunk=TIME, loss_scale=0.5, mass=mass, every=every)
    inputs, initial = draw(o)
    losses: list[Tensor | None] = []

    def recording(*given: Any, **named: Any) -> MemoryOutput:
        output = memory_chunked(*given, **named)
        losses.append(output.omega_loss)
        return output

    outcome(recording, o, leaves_of(inputs, initial), resets(BATCH, TIME, ()))
    total = 0.0
    for b, t, h in np.ndindex(BATCH, TIME, HEADS):
        for age in range(min(o.window, t + 1)):
            k, v = inputs["keys"][b, t - age, h], inputs["values"][b, t - age, h]
            miss = forward(o, [initial[0][h].T], k)[0] - v
            total += 0.5 * inputs["window_weights"][b, t, h, age] * float(miss @ miss)
    assert losses[0] is not None
    assert float(losses[0]) == pytest.approx(total / (BATCH * TIME * HEADS), rel=1e-12)


def test_a_proximal_step_is_not_the_soft_threshold_of_a_dual_state() -> None:
    """The elastic net twice: shrinking what is kept, and shrinking what is read, part at the second token."""
    inputs, initial = draw(AXES["proximal"])
    shrunk = [
        reads(memory_chunked, o, inputs, initial, resets(BATCH, TIME, ()))
        for o in (AXES["proximal"], replace(AXES["proximal"], retention="dual", link="soft_threshold"))
    ]
    assert gap(shrunk[1][:, 1:], shrunk[0][:, 1:]) > 1e-3


def test_an_elastic_step_minimises_its_printed_objective() -> None:
    """MIRAS 2504.13173 Eq. 22: W = argmin <g, W> + ||W - W'||^2 / (2 eta) + ||W||^2 / (2 be) + ||W||_1 / al."""
    rng = np.random.default_rng(3)
    old, slope, eta, be, al = rng.standard_normal((3, 4)), rng.standard_normal((3, 4)), 0.4, 2.0, 1.5
    kept = be / (be + eta)
    zeta = eta * kept
    step = soft(kept * old - zeta * slope, np.array(zeta / al))

    def objective(w: Array) -> float:
        near = ((w - old) ** 2).sum() / (2.0 * eta) + (w * w).sum() / (2.0 * be)
        return float((slope * w).sum() + near + np.abs(w).sum() / al)

    assert all(
        objective(step + 10.0 ** rng.uniform(-4, 0) * rng.standard_normal((3, 4))) > objective(step)
        for _ in range(1000)
    )


@pytest.mark.parametrize("name", ["lq", "softmax", "moneta"])
def test_the_first_write_descends_through_the_link(name: str) -> None:
    """Kills: a gradient with respect to A, or a write that goes uphill in what is read."""
    o = replace(AXES[name], read="post", chunk=1, window=1)
    inputs, initial = draw(o, time=1)
    inputs["step_size"] *= 1e-3
    inputs["log_retention"] *= 0.0
    found = outcome(memory_chunked, o, leaves_of(inputs, initial), resets(BATCH, 1, ()))
    for b, h in np.ndindex(BATCH, HEADS):
        k, v = inputs["keys"][b, 0, h], inputs["values"][b, 0, h]
        after = [found[f"weights.{i}"][b, h].detach().numpy().T for i in range(len(initial))]
        before = [matrix[h].T for matrix in initial]
        squares = [float(((forward(o, [link(o, a) for a in duals], k)[0] - v) ** 2).sum()) for duals in (after, before)]
        assert squares[0] < squares[1]


@pytest.mark.parametrize("name", ["softmax", "columns", "kda", "implicit", "huber_norm", "proximal", "retained rows"])
@pytest.mark.parametrize("time", [1, TIME])
def test_a_call_without_writes_reads_what_it_finds(name: str, time: int) -> None:
    """Kills: an elastic net, a decay or a write in the warm-up."""
    o = AXES[name]
    inputs, initial = draw(o, time=time)
    leaves, reset = leaves_of(inputs, initial), resets(BATCH, time, ())
    for form in (memory_recurrent, memory_chunked):
        found = outcome(form, o, leaves, reset, writes=False)
        wanted = np.zeros(inputs["values"].shape)
        for b, t, h in np.ndindex(BATCH, time, HEADS):
            wanted[b, t, h] = forward(o, [link(o, a[h].T) for a in initial], inputs["queries"][b, t, h])[0]
        assert gap(found["reads"].detach().numpy(), wanted) < 1e-14


@pytest.mark.parametrize(
    "name", ["kda", "delta", "implicit", "softmax rows, a write in 2", "memora", "huber_norm every 2"]
)
def test_shards_end_where_the_recurrence_ends_them(name: str) -> None:
    """Kills: a segment, or a schedule that does not divide the shard, that begins before it."""
    o, time = AXES[name], 20
    length = 6 if o.chunk == 1 else 2 * o.chunk
    inputs, initial = draw(o, time=time)
    found = []
    for form in (memory_recurrent, partial(memory_chunked, schedule=4)):
        leaves = leaves_of(inputs, initial)
        shards = Shards(length, 2, torch.tensor(0.8, dtype=torch.float64, requires_grad=True))
        output = outcome(form, o, leaves, resets(BATCH, time, (3,)), (7,), shards=shards)
        slopes = torch.autograd.grad(output["reads"].square().sum(), [leaves["keys"], leaves["initial.0"]])
        found.append([output["reads"].detach().numpy(), *(slope.numpy() for slope in slopes)])
    assert all(gap(b, a) < 1e-10 for a, b in zip(*found, strict=True))


@pytest.mark.parametrize(("place", "of"), crossed(range(1, TIME), FORMS))
def test_a_call_may_be_cut_anywhere(place: int, of: str) -> None:
    """Kills: a chunk that counts from its call; a state that leaves something out. (Memora amplifies.)"""
    for name in ("huber_norm every 2", "memora", "lq", "kda", "implicit columns", "proximal titans"):
        inputs, initial = draw(AXES[name])
        leaves, reset = leaves_of(inputs, initial), resets(BATCH, TIME, (5,))
        whole, cut = (outcome(FORMS[of], AXES[name], leaves, reset, cuts) for cuts in ((), (place,)))
        assert all(gap(cut[n].detach().numpy(), x.detach().numpy()) < 1e-11 for n, x in whole.items()), name


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_constant_in_every_row_of_logits_leaves_room_for_what_is_written(form: Form) -> None:
    """In float32, where a write beside 2^23 is lost: the constant goes where a chunk begins (ANCHOR).

    Kills: logits that are made canonical where a call ends, and not where a chunk begins.
    """
    o, marks = AXES["softmax"], resets(BATCH, TIME, (3,))
    inputs, initial = draw(o)
    whole = [np.round(4.0 * matrix) for matrix in initial]
    leaves = leaves_of(inputs, [matrix + 2.0**23 for matrix in whole], torch.float32)
    found, wanted = outcome(form, o, leaves, marks), run(o, inputs, whole, marks)
    for name in ("reads", "weights.0"):
        assert gap(found[name].detach().numpy(), wanted[name]) <= 1e-5, name
