"""A model whose layers have a hierarchy of memories: one call is token by token, and its state holds all of them."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from atlas_ref.blocks.registry import BLOCKS
from atlas_ref.errors import UserError
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.models.measures import measure_layers
from atlas_ref.models.tensors import tensors
from spec_tests.package.micro.models import make_tokens
from spec_tests.package.micro.runs import go_on, micro_config, start

KIND = "model.memory.kind='hierarchical'"
HIERARCHY = "model.memory.hierarchy"
ONE = (KIND, "model.memory.chunk=8", f"{HIERARCHY}.local_chunks=[4]", f"{HIERARCHY}.local_shards=[8]")
VARIANTS = {
    "one local": ONE,
    "projected queries, three locals": (
        *ONE,
        "model.memory.qk_projection.kind='tnt'",
        f"{HIERARCHY}.local_chunks=[2,4,1]",
        f"{HIERARCHY}.local_shards=[8,0,6]",
    ),
    "shards that inherit": (
        *ONE,
        "model.memory.rule='atlas'",
        "model.memory.qk_projection.kind='tnt'",
        f"{HIERARCHY}.border='m3'",
        f"{HIERARCHY}.local_chunks=[2,4]",
        f"{HIERARCHY}.local_shards=[4,8]",
    ),
    "a global memory that is not written": (*ONE, "model.memory.omega_window=3", f"{HIERARCHY}.global_writes=false"),
    "nothing written": (*ONE, "model.disable_memory=true"),
}
TIME, ROWS = 23, 3


def stirred(*overrides: str) -> AtlasModel:
    """Return a model in float64 whose gates depend on tokens."""
    model = AtlasModel(micro_config(*overrides).model, 0).double()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            noise = torch.Generator().manual_seed(number)
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=noise, dtype=torch.float64))
    return model


def resets() -> Tensor:
    """Return marks of new documents inside a shard, and in one row alone."""
    marks = torch.zeros(ROWS, TIME, dtype=torch.bool)
    marks[0, 5] = marks[0, 21] = marks[2, 14] = True
    return marks


@pytest.mark.parametrize("name", VARIANTS)
def test_tokens_one_by_one_give_the_logits_and_the_state_of_one_call(name: str) -> None:
    """Kills: a shard that begins with the call; a local memory, its projection or a phase that is not handed on."""
    model, tokens, marks = stirred(*VARIANTS[name]), make_tokens(ROWS, 1, TIME), resets()
    with torch.no_grad():
        whole = model(tokens, model.initial_state(ROWS), marks)
        state, logits = model.initial_state(ROWS), []
        for t in range(TIME):
            output = model(tokens[:, t : t + 1], state, marks[:, t : t + 1])
            state = output.state
            logits.append(output.logits)
    torch.testing.assert_close(torch.cat(logits, 1), whole.logits, rtol=0.0, atol=1e-11)
    expected = whole.state.to_tensors()
    for tensor, found in state.to_tensors().items():
        torch.testing.assert_close(found, expected[tensor], rtol=0.0, atol=1e-11)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_takes_a_hierarchy_and_sees_no_later_token(block: str) -> None:
    """Kills: a block that reads a memory past its branch; a shard, or a segment, that sees its own later tokens."""
    shape = ("model.n_layers=1", f"model.block='{block}'", "model.mac.segment=8")
    model = stirred(*VARIANTS["projected queries, three locals"], *shape)
    tokens = make_tokens(1, 1, TIME)
    with torch.no_grad():
        whole = model(tokens, model.initial_state(1), None).logits
        state, logits = model.initial_state(1), []
        for t in range(TIME):
            output = model(tokens[:, t : t + 1], state, None)
            state = output.state
            logits.append(output.logits)
        later = torch.cat([tokens[:, :13], make_tokens(1, 2, TIME)[:, 13:]], 1)
        changed = model(later, model.initial_state(1), None).logits
    torch.testing.assert_close(torch.cat(logits, 1), whole, rtol=0.0, atol=1e-11)
    torch.testing.assert_close(changed[:, :13], whole[:, :13], rtol=0.0, atol=1e-12)
    assert (changed - whole)[:, 13:].abs().amax() > 1e-3


@pytest.mark.parametrize("name", VARIANTS)
def test_the_table_of_tensors_has_every_parameter_of_a_hierarchy(name: str) -> None:
    model = stirred(*VARIANTS[name])
    listed = {info.name: info.shape for info in tensors(model.config)}
    assert listed == {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("name", ["one local", "projected queries, three locals", "shards that inherit"])
def test_every_memory_learns_its_gates_and_its_start(name: str) -> None:
    """Kills: W_init without a gradient; one set of gates for all memories."""
    model = stirred(*VARIANTS[name])
    model(make_tokens(ROWS, 1, TIME), model.initial_state(ROWS), None).logits.square().sum().backward()
    still = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert still == []


def test_a_memory_alone_that_reads_nothing_leaves_the_others() -> None:
    """Each memory of the sum, silenced by its own step and start, changes the logits: none is left out of the sum."""
    tokens = make_tokens(ROWS, 1, TIME)

    def logits(silenced: int | None) -> Tensor:
        model = stirred(*VARIANTS["projected queries, three locals"])
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if f".memory.initial.{silenced}." in name:
                    parameter.zero_()
                if name.endswith(f".memory.gates.{silenced}.projection.bias"):
                    parameter.sub_(40.0)
            output: Tensor = model(tokens, model.initial_state(ROWS), None).logits
        return output

    whole = logits(None)
    assert all((logits(number) - whole).abs().amax() > 1e-3 for number in range(4))


def test_telemetry_tells_each_memory_apart() -> None:
    """Kills: the norms of one memory for all; a label of another memory. Compared with the state itself."""
    model = stirred(*VARIANTS["projected queries, three locals"])
    with torch.no_grad():
        output = model(make_tokens(ROWS, 1, TIME), model.initial_state(ROWS), None)
    table = measure_layers(output, model.config)[1]
    memories = output.state.layers[1].memory.memory.memories
    labels = ("global", "local_1", "local_2", "local_3")
    found = [table[f"memory_norm.{label}"] for label in labels]
    expected = [memory.weights[0].square().sum((-1, -2)).mean().sqrt().item() for memory in memories]
    assert found == pytest.approx(expected, rel=1e-9)
    assert len({round(value, 6) for value in found}) == 4
    assert table["memory_norm"] == pytest.approx(sum(value**2 for value in expected) ** 0.5, rel=1e-9)
    retention = [table[f"retention.{label}"] for label in labels]
    assert table["retention"] == pytest.approx(sum(retention) / 4, rel=1e-6)


def test_a_run_goes_on_from_a_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    """Kills: a memory, a phase or a projection of a hierarchy that no checkpoint holds."""
    changes = (*VARIANTS["shards that inherit"], "data.sequence_length=12", "train.save_interval=2")
    config = micro_config(*changes, "train.max_steps=4")
    start(config, tmp_path / "whole")
    start(micro_config(*changes, "train.max_steps=2"), tmp_path / "cut")
    go_on(config, tmp_path / "cut")
    one, other = ((tmp_path / name).glob("checkpoints/*4/*.safetensors") for name in ("whole", "cut"))
    files = {path.name: path.read_bytes() for path in one}
    assert len(files) == 3
    assert files == {path.name: path.read_bytes() for path in other}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("local_chunks=[]", "hierarchy.local_chunks has 0 entries; it must have one for each of 1 to 4 memories"),
        ("local_chunks=[1,1,1,1,1]", "hierarchy.local_chunks has 5 entries"),
        ("local_shards=[4,4]", "hierarchy.local_shards has 2 entries; it must have 1"),
        ("local_step_chunks=[4,4]", "hierarchy.local_step_chunks has 2 entries; it must have 1"),
        ("local_shards=[6]", "hierarchy.local_shards has 6; it must be a multiple of that memory's chunk, which is 4"),
        ("local_chunks=[0]", "hierarchy.local_chunks.0 is 0; it must be a list of integers, each at least 1"),
        ("local_chunks=4", "hierarchy.local_chunks is 4; it must be a list of integers, each at least 1"),
    ],
)
def test_what_are_no_local_memories_is_refused_in_one_sentence(change: str, complaint: str) -> None:
    with pytest.raises(UserError) as refused:
        micro_config(*ONE, f"{HIERARCHY}.{change}")
    assert complaint in str(refused.value)


def test_shards_shorter_than_the_global_chunk_are_told() -> None:
    """Kills: a warning that never comes, or always does."""
    told = list(micro_config(*ONE, "model.memory.chunk=16").model.memory.warnings())
    assert len(told) == 1
    assert "local_shards has 8, less than model.memory.chunk, which is 16" in told[0]
    assert list(micro_config(*ONE).model.memory.warnings()) == []
    assert list(micro_config("model.memory.chunk=16").model.memory.warnings()) == []
