"""Faults of the gate."""

from typing import Final

import numpy as np

from spec_tests.chapters.mag_gate.oracle import gate
from spec_tests.faults.fault import Arrays, Config, Fault, gradients_lost, with_config, with_outputs
from spec_tests.port import Array, Op, round_to_bf16

MAG: Final = Op.MAG_GATE


def _clamped(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """The gate is max(g, floor): no gradient below the floor."""
    share, _ = gate(str(config["kind"]), x["attention"], x["memory"], x["logits"], 0.0)
    floor = float(config["floor"])
    changed: dict[str, Array] = {"gate": np.maximum(share, floor)}
    if "grad.logits" in outputs:
        changed["grad.logits"] = np.where(share > floor, outputs["grad.logits"], 0.0)
    return changed


def _memory_by_attention(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """The gate squashes the memory, not the attention."""
    return {"joined": x["attention"] / (1.0 + np.exp(-x["memory"]))}


def _shares_swapped(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    if config["kind"] == "source":
        return {}
    return {"joined": x["attention"] + x["memory"] - outputs["joined"]}


def _gate_in_bf16(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    return {"gate": round_to_bf16(outputs["gate"])}


def _neighbour(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {"joined": outputs["joined"] + 0.2 * np.roll(x["memory"], -1, axis=1)}


HARD_FLOOR = "source: a hard floor under a gate has no gradient"


def _added(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {"joined": outputs["gate"] + x["memory"]} if config["kind"] == "source" else {}


def _rows_averaged(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {"joined": outputs["joined"] + 0.2 * x["memory"].mean(0, keepdims=True)}


def _squashed(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """The product has a sigmoid after all."""
    return {"joined": x["memory"] / (1.0 + np.exp(-x["attention"]))} if config["kind"] == "product" else {}


def _floored(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """The gate of the product has a floor."""
    floor = float(config["floor"])
    return {"gate": floor + (1.0 - floor) * x["attention"]} if config["kind"] == "product" else {}


def _other_side(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """The gate of the memory is put on the memory."""
    return {"joined": outputs["gate"] * x["memory"]} if config["kind"] == "gated_attention" else {}


MAG_GRADIENT = "test_mag_gate:test_the_gradients_are_those_of_the_formula"


def _share_of_attention(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """The gate of `convex_memory` is the share of attention."""
    gate = outputs["gate"]
    kept = gate * x["attention"] + (1.0 - gate) * x["memory"]
    return {"joined": kept} if config["kind"] == "convex_memory" else {}


SHARES = "test_mag_gate:test_convex_memory_gives_the_memory_the_share_of_the_gate"
GATED = "test_mag_gate:test_gated_attention_scales_attention_by_the_squashed_memory"
PRODUCT = "test_mag_gate:test_the_product_squashes_nothing_and_has_no_floor"

FAULTS: Final[tuple[Fault, ...]] = (
    Fault(
        "mag-memory-squashed",
        "MAG-1b",
        MAG,
        "test_mag_gate:test_source_scales_the_memory_by_the_squashed_attention",
        with_outputs(_memory_by_attention),
        "source: the memory is never used, so that every test of leaks passes",
    ),
    Fault(
        "mag-shares-swapped",
        "MAG-2a",
        MAG,
        "test_mag_gate:test_convex_gives_attention_the_share_of_the_gate",
        with_outputs(_shares_swapped),
        "misreading: which side of the gate",
    ),
    Fault(
        "mag-floor-ignored",
        "MAG-2b",
        MAG,
        "test_mag_gate:test_convex_gives_attention_the_share_of_the_gate",
        with_config(lambda _: {"floor": 0.0}),
        HARD_FLOOR,
    ),
    Fault(
        "mag-floor-clamped",
        "MAG-3",
        MAG,
        "test_mag_gate:test_a_gate_near_its_floor_still_has_a_gradient",
        with_outputs(_clamped),
        HARD_FLOOR,
    ),
    Fault(
        "mag-gate-in-bf16",
        "MAG-4",
        MAG,
        "test_mag_gate:test_the_gate_keeps_single_precision",
        with_outputs(_gate_in_bf16),
        "source: accumulators in bfloat16 stall",
    ),
    Fault(
        "mag-logits-frozen",
        "MAG-5c",
        MAG,
        "test_mag_gate:test_the_gradients_are_those_of_the_formula",
        gradients_lost("logits"),
        "porting: a derivative that is missing, cut short or leaks",
    ),
    Fault(
        "mag-next-token",
        "MAG-6a",
        MAG,
        "test_mag_gate:test_tokens_and_rows_stand_alone",
        with_outputs(_neighbour),
        "porting: a sight that is wrong by one document or token",
    ),
    Fault(
        "mag-added",
        "MAG-1a",
        MAG,
        "test_mag_gate:test_source_scales_the_memory_by_the_squashed_attention",
        with_outputs(_added),
        "misreading: how attention and memory are joined",
    ),
    Fault(
        "mag-attention-detached",
        "MAG-5a",
        MAG,
        MAG_GRADIENT,
        gradients_lost("attention"),
        "porting: a derivative that is missing, cut short or leaks",
    ),
    Fault(
        "mag-memory-detached",
        "MAG-5b",
        MAG,
        MAG_GRADIENT,
        gradients_lost("memory"),
        "source: detached writes: keys, values and gates learn nothing from the memory",
    ),
    Fault(
        "mag-gate-on-the-memory",
        "MAG-7a",
        MAG,
        GATED,
        with_outputs(_other_side),
        "misreading: which side of the gate",
    ),
    Fault(
        "mag-gated-attention-without-floor",
        "MAG-7b",
        MAG,
        GATED,
        with_config(lambda _: {"floor": 0.0}),
        HARD_FLOOR,
    ),
    Fault(
        "mag-product-squashed",
        "MAG-8a",
        MAG,
        PRODUCT,
        with_outputs(_squashed),
        "misreading: how attention and memory are joined",
    ),
    Fault(
        "mag-product-with-floor",
        "MAG-8b",
        MAG,
        PRODUCT,
        with_outputs(_floored),
        HARD_FLOOR,
    ),
    Fault(
        "mag-floor-under-attention",
        "MAG-9a",
        MAG,
        SHARES,
        with_outputs(_share_of_attention),
        "source: a floor that does not keep the memory in",
    ),
    Fault(
        "mag-convex-memory-without-floor",
        "MAG-9b",
        MAG,
        SHARES,
        with_config(lambda config: {"floor": 0.0}),
        HARD_FLOOR,
    ),
    Fault(
        "mag-rows-averaged",
        "MAG-6b",
        MAG,
        "test_mag_gate:test_tokens_and_rows_stand_alone",
        with_outputs(_rows_averaged),
        "source: state kept as the mean over the batch",
    ),
)
