"""A token of a memory by kernels alone, interpreted where there is no GPU, against the reference."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from atlas_ref.blocks import one_token
from atlas_ref.blocks.memory_layer import MemoryLayer
from atlas_ref.blocks.timeline import Marks, make_timeline
from atlas_ref.config import load_config
from atlas_ref.functional.looking import unseen
from atlas_ref.memory.kernels.choice import Kernels

# The port first: it asks for the interpreter, which Triton reads where it is imported.
DEVICE = pytest.importorskip("spec_tests.ports.kernels").DEVICE
pytest.importorskip("triton", reason="the kernels need the package triton: pip install 'atlas-spec[triton]'")

BATCH, WIDTH, HEADS, TOKENS = 2, 8, 2, 8
SMALL = ("chunk=3", "key_dim=3", "value_dim=4", "omega_window=3", "initial_std=0.3", "gates.fast_heads=0")
CASES: dict[str, tuple[str, ...]] = {
    "omega, degree 2": ("features.degree=2",),
    "titans as printed, truncated, read before": (
        "rule='titans'",
        "step_scale='literal'",
        "window_boundary='truncate'",
        "read='pre'",
        "loss_scale='one'",
    ),
    "atlas, monomials, truncated": (
        "rule='atlas'",
        "window_boundary='truncate'",
        "features.degree=2",
        "features.basis='monomial'",
    ),
    "atlas_appendix, read at the anchor": ("rule='atlas_appendix'", "read='anchor'", "features.degree=2"),
    "delta without convolution": ("rule='delta'", "omega_window=1", "conv_kernel=1"),
    "gates that are fixed": (
        "gates.momentum_kind='zero'",
        "gates.step_kind='one'",
        "gates.window_kind='one'",
        "step_chunk=5",
    ),
    "nothing forgotten": ("gates.retention_kind='one'", "conv_kernel=2", "gates.step_max=0.5"),
}
SELDOM = {"atlas_appendix, read at the anchor", "nothing forgotten"}


def layer(changes: tuple[str, ...], kernels: Kernels) -> MemoryLayer:
    fields = [f"model.memory.{change}" for change in (*SMALL, *changes)]
    config = load_config("tiny", [*fields, "model.n_heads=2", "model.d_model=8"]).model.memory
    module = MemoryLayer(WIDTH, HEADS, config, kernels=kernels)
    drawn = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=drawn))
    return module.to(DEVICE)


def written(module: MemoryLayer) -> Iterator[dict[str, torch.Tensor]]:
    """Yield reads and state after each token: row 0 begins a document behind a token that is not finite, row 1 a
    context whose memory is handed on."""
    state = module.initial_state(BATCH)
    drawn = torch.Generator().manual_seed(6)
    for token in range(TOKENS):
        hidden = torch.randn(BATCH, 1, WIDTH, generator=drawn).to(DEVICE)
        # The interpreter warns of what Newton-Schulz makes of NaN.
        if token == 2 and not module.fast.rule.orthogonalised:
            hidden[0] = torch.nan
        memory = torch.tensor([[token == 3], [False]], device=DEVICE)
        marks = Marks(memory | torch.tensor([[False], [token == 5]], device=DEVICE), memory)
        with torch.no_grad(), unseen():
            timeline = make_timeline(module.config, state.context, state.memory.position, marks, 1)
            output = module(hidden, state, timeline, measured=False)
        state = output.state
        yield {"reads": output.reads, **state.to_tensors()}


@pytest.mark.parametrize(
    "changes", [pytest.param(c, id=n, marks=[pytest.mark.exhaustive] * (n in SELDOM)) for n, c in CASES.items()]
)
def test_a_token_by_kernels_alone_is_the_token_of_the_reference(
    changes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a filter that reaches into another context; a window or a tail that keeps what is of the document before;
    features in another order or without their weight; a gate of another head or age; a step not divided."""
    runs, found = list[Any](), one_token.token_kernels

    def noted(*given: Any) -> Any:
        runs.append(found(*given))
        return runs[-1]

    monkeypatch.setattr("atlas_ref.blocks.memory_layer.token_kernels", noted)
    alone, plain = written(layer(changes, "triton")), written(layer(changes, "reference"))
    for one, other in zip(alone, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-5, atol=2e-5, equal_nan=True)
    assert [run is None for run in runs] == [False, True] * TOKENS


UNKNOWN: dict[str, tuple[str, ...]] = {
    "queries that are aligned": ("qk_projection.kind='tnt'",),
    "shards": ("shards.length=6",),
    "ridge": ("algorithm='ridge'", "rule='delta'", "chunk=1", "step_scale='literal'", "omega_window=1"),
    "writes of several tokens": ("ttl_update_frequency=2",),
    "a threshold": ("bias.kind='huber_norm'",),
    "a retention of each row": ("gate_axis='rows'",),
    "a retention that decays with the step": ("gates.retention_kind='mamba2'",),
    "features of the third degree": ("features.degree=3",),
    "features that are powers": ("features.basis='elementwise'",),
    "two layers": ("architecture='mlp'",),
}


@pytest.mark.parametrize("changes", [pytest.param(c, id=n) for n, c in UNKNOWN.items()])
def test_what_these_kernels_do_not_know_goes_the_way_of_any_call(changes: tuple[str, ...]) -> None:
    """Kills: a memory that is taken for one that they know."""
    module = layer(changes, "triton")
    hidden = torch.zeros(BATCH, 1, WIDTH, device=DEVICE)
    given = module.config, module.fast.rule, module.features
    with torch.no_grad():
        assert one_token.token_kernels("triton", hidden, *given) is None


def test_a_gradient_telemetry_and_several_tokens_go_the_way_of_any_call() -> None:
    """Kills: kernels without a derivative in a step of training; a call whose Omega loss is asked for and not told."""
    module = layer((), "triton")
    given = module.config, module.fast.rule, module.features
    hidden = torch.zeros(BATCH, 2, WIDTH, device=DEVICE)
    assert one_token.token_kernels("triton", hidden[:, :1], *given) is None
    with torch.no_grad():
        assert one_token.token_kernels("triton", hidden[:, :1], *given) is not None
        assert one_token.token_kernels("triton", hidden, *given) is None
        assert one_token.token_kernels("triton", hidden[:, :1].double(), *given) is None
        assert one_token.token_kernels("reference", hidden[:, :1], *given) is None
    state = module.initial_state(BATCH)
    timeline = make_timeline(module.config, state.context, state.memory.position, None, 1)
    with torch.no_grad():
        assert module(hidden[:, :1], state, timeline).omega_loss is not None
