"""What a layer with a hierarchy hands to its memories: which are written, in which chunks, and what is told of them."""

import pytest
import torch
from torch import Tensor

from atlas_ref.blocks.hierarchical_layer import hierarchy_of
from atlas_ref.models.atlas import AtlasModel, ModelOutput
from atlas_ref.models.flops import head_flops
from atlas_ref.models.measures import measure_layers
from cli.checkpoints import served_in
from spec_tests.package.micro.models import make_tokens
from spec_tests.package.micro.runs import micro_config

HIERARCHY = "model.memory.hierarchy"
TWO = (
    "model.memory.kind='hierarchical'",
    "model.memory.chunk=8",
    f"{HIERARCHY}.local_chunks=[4,2]",
    f"{HIERARCHY}.local_shards=[8,6]",
)
STILL = (*TWO, "model.memory.gates.retention_kind='one'", "model.memory.gates.momentum_kind='zero'")
ROWS, TIME = 2, 11


def model_of(*overrides: str, quiet: bool = False) -> AtlasModel:
    """Return a model in float64 off its start; a `quiet` one has steps of nothing."""
    model = AtlasModel(micro_config(*overrides).model, 0).double()
    with torch.no_grad():
        for number, (name, parameter) in enumerate(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
            parameter.add_(0.05 * noise)
            if quiet and name.endswith("projection.bias") and ".gates." in name:
                parameter.sub_(60.0)
    return model


def called(model: AtlasModel, outer_step: int | None = None) -> ModelOutput:
    with torch.no_grad():
        output: ModelOutput = model(make_tokens(ROWS, 3, TIME), model.initial_state(ROWS), None, outer_step)
    return output


def moved(model: AtlasModel, output: ModelOutput) -> list[bool]:
    """Return for each memory of the first layer whether it holds something else than its start."""
    fresh = model.initial_state(ROWS).layers[0].memory.memory.memories
    pairs = zip(fresh, output.state.layers[0].memory.memory.memories, strict=True)
    return [not torch.equal(before.weights[0], after.weights[0]) for before, after in pairs]


def test_where_nothing_is_written_every_start_is_read_as_where_steps_are_nothing() -> None:
    """Kills: an ablation that leaves a memory out of the sum, or reads the start of another."""
    writing, ablated = model_of(*STILL, quiet=True), model_of(*STILL, "model.disable_memory=true", quiet=True)
    outputs = [called(model) for model in (writing, ablated)]
    logits: list[Tensor] = [output.logits for output in outputs]
    torch.testing.assert_close(logits[1], logits[0], rtol=0.0, atol=1e-12)
    # The norm behind the reads hides their size.
    sizes = [measure_layers(output, writing.config)[0]["read_norm"] for output in outputs]
    assert sizes[1] == pytest.approx(sizes[0], rel=1e-9)
    assert outputs[1].state.layers[0].memory.memory.position.tolist() == [TIME] * ROWS
    with torch.no_grad():
        ablated.get_parameter("layers.0.mag.memory.initial.2.0").zero_()
    assert (called(ablated).logits - logits[0]).abs().amax() > 1e-3


@pytest.mark.parametrize(
    ("changes", "step", "written"),
    [
        ((), None, [True, True, True]),
        ((f"{HIERARCHY}.global_writes=false",), None, [False, True, True]),
        (("model.memory.ttl_warmup_steps=5",), 4, [False, False, False]),
        (("model.memory.ttl_warmup_steps=5",), 5, [True, True, True]),
        (("model.disable_memory=true",), None, [False, False, False]),
    ],
)
def test_memories_are_written_where_the_configuration_says(
    changes: tuple[str, ...], step: int | None, written: list[bool]
) -> None:
    """Kills: a warm-up that only the global memory has; an ablation of the wrong memory."""
    model = model_of(*STILL, *changes)
    assert moved(model, called(model, step)) == written


def test_each_memory_has_its_chunk_and_the_chunk_that_divides_its_steps() -> None:
    """Kills: steps of a memory that is served in another chunk divided by that chunk; the chunk of another memory."""
    memory = micro_config(*TWO).model.memory
    assert [(rule.chunk, rule.step_chunk, rule.read) for rule in hierarchy_of(memory).rules] == [
        (8, 0, "anchor"),
        (4, 0, "post"),
        (2, 0, "post"),
    ]
    assert hierarchy_of(memory).shards == (0, 8, 6)
    served = micro_config(*TWO, *served_in(2, memory)).model.memory
    assert [(rule.chunk, rule.step_chunk) for rule in hierarchy_of(served).rules] == [(8, 0), (2, 4), (2, 2)]


def test_the_mixing_rate_that_is_told_is_the_one_furthest_from_one_half() -> None:
    """Kills: a mean, in which a memory that keeps everything and one that keeps nothing look healthy."""
    model = model_of(*TWO, f"{HIERARCHY}.border='m3'")
    with torch.no_grad():
        model.get_parameter("layers.1.mag.memory.alpha_logit").copy_(torch.tensor([0.5, -3.0], dtype=torch.float64))
    tables = measure_layers(called(model), model.config)
    assert tables[1]["m3_alpha"] == pytest.approx(1.0 / (1.0 + 2.718281828459045**3.0), rel=1e-9)
    assert "m3_alpha" not in measure_layers(called(model_of(*TWO)), model.config)[1]


@pytest.mark.parametrize("warmup", [0, 2])
def test_each_local_memory_inherits_by_its_own_rate_after_the_ramp(warmup: int) -> None:
    """Kills: the rate of another memory; a ramp that is forgotten. Each row crosses one border of each memory."""
    shape = (*TWO, f"{HIERARCHY}.border='m3'", f"model.memory.shards.warmup_crossings={warmup}")

    def momenta(*rates: float) -> list[Tensor]:
        model = model_of(*shape)
        with torch.no_grad():
            model.get_parameter("layers.0.mag.memory.alpha_logit").copy_(torch.tensor(rates))
        return [memory.momentum[0] for memory in called(model).state.layers[0].memory.memory.memories]

    before, after = momenta(0.5, 0.5), momenta(0.5, -2.0)
    changed = [not torch.equal(one, other) for one, other in zip(before, after, strict=True)]
    assert changed == [False, False, warmup == 0]


def test_what_is_told_of_a_memory_is_of_its_own_reads_momentum_and_change() -> None:
    """Kills: the numbers of one memory for all, or in another order."""
    model, reads = model_of(*TWO), list[tuple[Tensor, ...]]()
    branch = model.get_submodule("layers.0.mag.memory")
    branch.register_forward_hook(lambda module, given, output: reads.append(output.each))
    output = called(model)
    table = measure_layers(output, model.config)[0]
    starts = model.initial_state(ROWS).layers[0].memory.memory.memories
    after = output.state.layers[0].memory.memory.memories
    for number, label in enumerate(("global", "local_1", "local_2")):
        written = after[number].weights[0] - starts[number].weights[0]
        found = [table[f"{name}.{label}"] for name in ("read_norm", "momentum_norm", "update_magnitude")]
        size = reads[0][number].flatten(-2).square().sum(-1).mean().sqrt().item()
        expected = [x.square().sum((-1, -2)).mean().sqrt().item() for x in (after[number].momentum[0], written)]
        assert found == pytest.approx([size, *expected], rel=1e-9)


def test_a_hierarchy_costs_the_products_of_each_of_its_memories() -> None:
    """Kills: the cost of one memory for all; a projection of the global one."""
    single, alone = (micro_config(*given).model for given in ((), TWO))
    projected = micro_config(*TWO, "model.memory.qk_projection.kind='tnt'").model
    assert head_flops(alone) == 3 * head_flops(single)
    assert head_flops(projected) - head_flops(alone) == 2 * 4 * alone.memory.key_dim**2
