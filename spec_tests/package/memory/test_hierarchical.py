"""The hierarchy of memories: both forms against a loop in numpy, against each other, and what no form may do."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any, Literal

import numpy as np
import pytest
import torch

from atlas_ref.errors import UserError
from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.hierarchical import hierarchical_chunked, memory_hierarchical
from atlas_ref.memory.shards import Shards
from spec_tests.package.memory.hierarchy_calls import (
    FORMS,
    Call,
    call_of,
    drawn,
    entered,
    gradients,
    hierarchy,
    hierarchy_of,
    tensors_of,
)
from spec_tests.package.memory.hierarchy_loop import Setting, loop

SETTINGS = {
    "one local, titans": Setting("titans", [4, 2], [0, 6]),
    "mass, an Omega window cut at chunks": Setting("omega", [4, 2], [0, 4], boundary="truncate", mass=True),
    "three locals, mixed chunks and shards": Setting("titans", [6, 1, 2, 4], [0, 5, 6, 8], mass=True),
    "a local that is never reset": Setting("omega", [2, 3, 1], [0, 0, 4]),
    "the sum of a chunk": Setting("titans", [3, 2], [0, 6], span="chunk"),
    "the sum of the document": Setting("titans", [3, 2, 1], [0, 6, 4], span="document"),
    "queries as they are": Setting("omega", [3, 2], [0, 4], span="none"),
    "the global memory alone": Setting("titans", [4], [0]),
    "shards that inherit": Setting("titans", [3, 2, 1], [0, 4, 3], border="m3"),
    "shards that inherit, the sum of the document": Setting("omega", [3, 2], [0, 4], span="document", border="m3"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SETTINGS)
def test_a_form_equals_the_loop_from_the_text(form: str, name: str) -> None:
    setting = SETTINGS[name]
    inputs = drawn(len(setting.chunks), 21, window=3, seed=3)
    assert inputs["reset"].any()
    found = call_of(hierarchy_of(setting), inputs).run(FORMS[form]).reads
    wanted = loop(setting, inputs)
    assert np.abs(found.detach().numpy() - wanted).max() <= 1e-12 * np.abs(wanted).max()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["one local, titans", "three locals, mixed chunks and shards", "the sum of a chunk"])
def test_every_gradient_equals_a_complex_step_through_the_loop(form: str, name: str) -> None:
    """Of a weighted sum of the reads, along a random direction in each input; W_init gets its part in every shard."""
    setting = SETTINGS[name]
    inputs = drawn(len(setting.chunks), 15, window=2, seed=4)
    random = np.random.default_rng(8)
    weight = random.normal(size=inputs["values"].shape)
    call = call_of(hierarchy_of(setting), inputs)
    total = (call.run(FORMS[form]).reads * torch.tensor(weight)).sum()
    names = [name for name in inputs if name not in ("reset", "inner", "outer")]
    found = torch.autograd.grad(total, [call.leaves[name] for name in names])
    for name_of, gradient in zip(names, found, strict=True):
        direction = random.normal(size=inputs[name_of].shape)
        stepped = {**inputs, name_of: inputs[name_of] + 1e-30j * direction}
        slope = (loop(setting, stepped) * weight).sum().imag / 1e-30
        assert float((gradient.numpy() * direction).sum()) == pytest.approx(slope, rel=1e-9, abs=1e-12)


CHUNKS = ([4, 2], [8, 1, 4], [4, 1, 2, 4], [3, 2, 1, 4, 3])
SHARDS = ([0, 6], [0, 3, 8], [0, 5, 4, 0], [0, 2, 4, 8, 9])
RULES: list[dict[str, Any]] = [
    {"name": "titans"},
    {"name": "omega", "step_scale": "mass", "boundary": "truncate"},
    {"name": "omega", "loss_scale": 1.0, "update_every": 3},
    {"name": "atlas", "step_scale": "mass"},
    {"name": "titans", "architecture": "mlp", "step_scale": "mass"},
    {"name": "atlas_appendix", "architecture": "mlp", "step_scale": "mass"},
]


def _grid() -> Iterator[Any]:
    """Yield every rule with 1 to 4 locals, with resets and from a state; those of a quick run meet each value."""
    for number, (rule, count) in enumerate(product(RULES, range(1, 5))):
        for resets, late in product((True, False), (0, 6)):
            quick = number % 5 == 0 and (resets, late) == ((True, 6), (False, 6), (True, 0))[number // 5 % 3]
            name = f"{rule} {count} locals{' resets' * resets}{' entered' * bool(late)}"
            yield pytest.param(rule, count, resets, late, marks=() if quick else pytest.mark.exhaustive, id=name)


@pytest.mark.parametrize(("rule", "count", "resets", "late"), list(_grid()))
def test_the_parallel_form_equals_the_recurrent_one(rule: dict[str, Any], count: int, resets: bool, late: int) -> None:
    """On reads, every tensor of the state and every gradient, that of the state before included."""
    span = ("shard", "chunk", "document", "none")[count - 1]
    setting = hierarchy(CHUNKS[count - 1], SHARDS[count - 1], span, **rule)
    inputs = drawn(count + 1, 26, window=2, seed=count, resets=resets, hidden=5)
    call = call_of(setting, inputs)
    if late:
        call = entered(call, drawn(count + 1, 26, window=2, seed=9, hidden=5), late)
    one, other = (call.run(form) for form in FORMS.values())
    for wanted, found in ((tensors_of(one), tensors_of(other)), (gradients(call, one), gradients(call, other))):
        assert wanted.keys() == found.keys()
        for name, tensor in wanted.items():
            scale = max(1.0, float(tensor.detach().abs().amax())) if tensor.numel() else 1.0
            assert torch.allclose(tensor, found[name], rtol=0.0, atol=1e-10 * scale), name


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cuts", [(7,), (1, 2, 3), (6, 12, 18), (11, 12, 25)])
def test_any_split_into_calls_gives_the_same(form: str, cuts: tuple[int, ...]) -> None:
    call = call_of(hierarchy([4, 2, 3], [0, 6, 9], step_scale="mass"), drawn(3, 26, seed=2))
    whole, state, parts = call.run(FORMS[form]), call.state, []
    for start, stop in zip((0, *cuts), (*cuts, 26), strict=True):
        found = call.run(FORMS[form], state, slice(start, stop))
        state = found.state
        parts.append(found.reads)
    split = {"reads": torch.cat(parts, 1), **state.to_tensors()}
    for name, tensor in tensors_of(whole).items():
        assert torch.allclose(split[name], tensor, rtol=0.0, atol=1e-12), name


@pytest.mark.parametrize("form", FORMS)
def test_rows_do_not_mix_and_no_read_sees_a_later_token(form: str) -> None:
    inputs = drawn(3, 23, seed=6)
    setting = hierarchy([4, 2, 3], [0, 6, 9])
    before = call_of(setting, inputs).run(FORMS[form]).reads
    changed = {name: x.copy() for name, x in inputs.items()}
    for name in ("keys", "values", "queries", "retention", "step"):
        changed[name][0, 13:] *= 0.7
    after = call_of(setting, changed).run(FORMS[form]).reads
    assert torch.equal(before[1], after[1])
    assert torch.equal(before[0, :13], after[0, :13])
    assert ((before - after)[0, 13:].abs().amax((-1, -2)) > 0.0).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shard", [2, 6])
def test_a_shard_alone_gives_its_local_reads_as_in_the_document(form: str, shard: int) -> None:
    """The global memory writes nothing and starts from zero here, so that the reads are those of the local one."""
    inputs = drawn(2, 24, resets=False, seed=7)
    inputs["step"][:, :, 0], inputs["initial"][0] = 0.0, 0.0
    setting = hierarchy([3, 2], [0, shard])
    whole = call_of(setting, inputs).run(FORMS[form]).reads
    tokens = slice(2 * shard, 3 * shard)
    alone = {name: x if name in ("initial", "inner", "outer") else x[:, tokens] for name, x in inputs.items()}
    assert torch.allclose(whole[:, tokens], call_of(setting, alone).run(FORMS[form]).reads, rtol=0.0, atol=1e-14)


def test_reads_before_the_first_border_do_not_depend_on_the_length_of_shards() -> None:
    call, other = (call_of(hierarchy([4, 2], [0, shard]), drawn(2, 20, resets=False)) for shard in (6, 14))
    reads = [given.run(hierarchical_chunked).reads.detach() for given in (call, other)]
    difference = (reads[0] - reads[1]).abs().amax((0, 2, 3))
    assert float(difference[:6].max()) <= 1e-14
    assert float(difference[6:14].min()) > 1e-3


def test_local_memories_in_another_order_give_the_same_sum() -> None:
    inputs = drawn(3, 20)
    gates = ("retention", "momentum", "step", "window")
    turned = {name: x[:, :, [0, 2, 1]] if name in gates else x for name, x in inputs.items()}
    turned["initial"] = inputs["initial"][[0, 2, 1]]
    one = call_of(hierarchy([4, 2, 3], [0, 6, 9]), inputs).run(memory_hierarchical).reads
    other = call_of(hierarchy([4, 3, 2], [0, 9, 6]), turned).run(memory_hierarchical).reads
    assert torch.allclose(one, other, rtol=0.0, atol=1e-14)


@pytest.mark.parametrize("form", FORMS)
def test_calls_cut_anywhere_inherit_as_one(form: str) -> None:
    """Kills: crossings or the projection's borders counted from the call; a gradient over the border."""
    call = call_of(replace(hierarchy([3, 2], [0, 4]), border="m3"), drawn(2, 22, seed=4, resets=False))
    whole = call.run(FORMS[form])
    first = call.run(FORMS[form], tokens=slice(9))
    second = call.run(FORMS[form], first.state, slice(9, 22))
    split = {"reads": torch.cat([first.reads, second.reads], 1), **second.state.to_tensors()}
    for name, tensor in tensors_of(whole).items():
        assert torch.allclose(split[name], tensor, rtol=0.0, atol=1e-12), name


def test_what_inherits_must_fit_the_borders(monkeypatch: pytest.MonkeyPatch) -> None:
    call = call_of(hierarchy([3, 2], [0, 4]), drawn(2, 6))
    given = [None, Shards(4, 2, torch.tensor(0.8, dtype=torch.float64))]
    cases: list[tuple[Literal["reset", "m3"], Any, str]] = [
        ("reset", given, "[0, 4] tokens, valid is [0, 0]"),
        ("m3", None, "[0, 0] tokens, valid is [0, 4]"),
    ]
    for border, mixing, found in cases:
        monkeypatch.setattr(Call, "inherited", lambda _, mixing=mixing: mixing)
        asked = call._replace(hierarchy=replace(call.hierarchy, border=border))
        with pytest.raises(UserError) as caught:
            asked.run(memory_hierarchical)
        assert f"with border '{border}' the memories inherit over shards of {found}" in str(caught.value)


def test_shards_are_run_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a parallel form that goes through a document of many shards one after another."""
    seen: list[tuple[int, int]] = []
    usual = memory_chunked

    def counted(rule: Any, keys: Any, *given: Any, **named: Any) -> Any:
        seen.append((keys.shape[0], keys.shape[1]))
        return usual(rule, keys, *given, **named)

    monkeypatch.setattr("atlas_ref.memory.folding.memory_chunked", counted)
    call_of(hierarchy([4, 2], [0, 4]), drawn(2, 22, resets=False)).run(hierarchical_chunked)
    assert seen == [(2, 22), (2 * 5, 4), (2, 2)]
    seen.clear()
    call_of(hierarchy([4, 2], [0, 4]), drawn(2, 24, resets=False)).run(hierarchical_chunked)
    assert seen == [(2, 24), (2 * 6, 4)]


@pytest.mark.parametrize("late", [0, 4])
def test_shards_that_fill_the_call_leave_the_state_of_the_recurrence(late: int) -> None:
    """Kills: the state of another row or stretch, where the last stretches are rows of the same batch."""
    call = call_of(hierarchy([4, 2], [0, 4], step_scale="mass"), drawn(2, 24, window=3, resets=False, seed=5))
    if late:
        call = entered(call, drawn(2, 24, window=3, resets=False, seed=9), late)
    one, other = (call.run(form) for form in FORMS.values())
    for wanted, found in ((tensors_of(one), tensors_of(other)), (gradients(call, one), gradients(call, other))):
        for name, tensor in wanted.items():
            assert torch.allclose(tensor, found[name], rtol=0.0, atol=1e-12), name


@pytest.mark.parametrize(
    ("chunks", "shards", "complaint"),
    [
        ([4, 2], [0], "2 rules and 1 shards"),
        ([4, 2], [8, 4], "the global memory has shards of 8 tokens, valid is 0"),
        ([4, 2], [0, 5], "memory 1 has shards of 5 tokens, valid are multiples of its chunk of 2"),
        ([4, 2], [0, -2], "memory 1 has shards of -2 tokens"),
    ],
)
def test_what_is_no_hierarchy_is_refused_in_one_sentence(chunks: list[int], shards: list[int], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        hierarchy(chunks, shards)


def test_other_reads_than_those_of_a_hierarchy_are_refused() -> None:
    usual = hierarchy([2, 2], [0, 0])
    first, second = usual.rules
    with pytest.raises(UserError, match="memory 0 reads 'post', valid is 'anchor'"):
        replace(usual, rules=(second, second))
    with pytest.raises(UserError, match="memory 1 reads 'anchor', valid is 'post'"):
        replace(usual, rules=(first, first))
