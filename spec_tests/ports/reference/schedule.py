"""The memory under a schedule, by the reference: its parallel form, and the projection of its queries."""

from collections.abc import Mapping
from typing import Final

from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.layout import make_plan
from atlas_ref.memory.rules import Gates, MemoryRule
from atlas_ref.memory.shards import Shards, qk_project_in_span
from atlas_ref.memory.state import MemoryState
from spec_tests.port import Op
from spec_tests.ports.reference.memory import pack, unpack
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def schedule_rule(config: Config) -> MemoryRule:
    """Return the rule of docs/spec/schedule.md."""
    return MemoryRule(
        architecture="matrix",
        name="titans",
        chunk=config["chunk"],
        boundary="carry",
        read="post",
        loss_scale=0.5,
        step_scale="mass",
        momentum_max=0.9,
        coefficients="quintic",
        newton_schulz_steps=5,
        update_every=config["every"],
        step_chunk=config["step_chunk"],
    )


def _memory_schedule(config: Config, x: Tensors) -> Tensors:
    keys, values, queries = (at_least_float32(x[name]) for name in ("keys", "values", "queries"))
    reset, time = x["reset"].bool(), keys.shape[1]
    plan = make_plan(x["position"], reset, time, config["chunk"], config["shard"])
    shards = Shards(config["shard"], config["warmup_crossings"], x["alpha_logit"]) if config["shard"] else None
    span = config["projection_span"]
    projected, carry, _ = qk_project_in_span(span, queries, keys, x["carry"], plan, shards, config["chunk"])
    widths = (keys.shape[-1], values.shape[-1])
    weights, momentum, anchor, initial = (
        unpack("matrix", x[name], *widths) for name in ("weights", "momentum", "anchor", "initial")
    )
    waiting = (x["waiting"],) if config["every"] > 1 else ()
    before = MemoryState(weights, momentum, anchor, x["window_keys"], x["window_values"], x["position"], waiting)
    gates = Gates(x["retention"], x["momentum_decay"], x["step_size"], x["window_weights"])
    reads, state, _ = memory_chunked(
        schedule_rule(config),
        keys,
        values,
        projected,
        gates,
        initial,
        before,
        reset,
        plan,
        writes=config["writes"],
        shards=shards,
    )
    return {
        "reads": reads.to(x["values"].dtype),
        "weights": pack(state.weights),
        "momentum": pack(state.momentum),
        "anchor": pack(state.anchor),
        "window_keys": state.window_keys,
        "window_values": state.window_values,
        "waiting": state.waiting[0] if state.waiting else x["waiting"],
        "carry": carry,
        "position": state.position,
    }


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.MEMORY_SCHEDULE: _memory_schedule}
