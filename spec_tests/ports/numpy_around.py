"""The numpy port's operations of the blocks around the memory, of the metrics and of the outer optimisers."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from spec_tests.oracle import around, metrics, optimisers
from spec_tests.oracle.sums import Sums
from spec_tests.port import GRADIENTS, Array, Op, Scalar, UnsupportedError

Arrays = Mapping[str, Array]
Config = Mapping[str, Scalar]
Function = Callable[[Config, Arrays, Sums], Arrays]


def _stablemax(_: Config, x: Arrays, sums: Sums) -> Arrays:
    return {"probabilities": around.stablemax(x["x"], sums)}


def _ltm_scan(config: Config, x: Arrays, _: Sums) -> Arrays:
    y, carry = around.running_mean(x["x"], x["carry"], x["position"], float(config["decay"]))
    return {"carry": carry, "y": y}


def _mag_gate(config: Config, x: Arrays, _: Sums) -> Arrays:
    share, joined = around.gate(str(config["kind"]), x["attention"], x["memory"], x["logits"], float(config["floor"]))
    return {"gate": share, "joined": joined}


def _act_halt(config: Config, x: Arrays, _: Sums) -> Arrays:
    halted, weights, ponder = around.halt(x["probabilities"], float(config["threshold"]))
    return {"halted": halted, "weights": weights, "ponder": ponder}


def _fourier_concentration(config: Config, x: Arrays, sums: Sums) -> Arrays:
    return {"concentration": metrics.concentration(x["embedding"], int(config["top"]), sums)}


def _circular_fit(_: Config, x: Arrays, sums: Sums) -> Arrays:
    if np.iscomplexobj(x["embedding"]):
        raise UnsupportedError("eigenvectors are not differentiated by a complex step", capability=GRADIENTS)
    fit, order, null = metrics.circle(x["embedding"], x["permutations"], sums)
    return {"fit": fit, "order": order, "null": null}


def _muon_step(config: Config, x: Arrays, sums: Sums) -> Arrays:
    weight, buffer = optimisers.muon(x["weight"], x["buffer"], x["gradient"], config, sums)
    return {"buffer": buffer, "weight": weight}


def _grokfast(config: Config, x: Arrays, _: Sums) -> Arrays:
    averages, filtered = optimisers.low_pass(x["gradients"], float(config["alpha"]), float(config["strength"]))
    return {"averages": averages, "filtered": filtered}


def _perp_grad(config: Config, x: Arrays, sums: Sums) -> Arrays:
    return {"filtered": optimisers.perpendicular(x["weight"], x["gradient"], bool(config["rescale"]), sums)}


def _qk_clip(config: Config, x: Arrays, sums: Sums) -> Arrays:
    maximum = optimisers.largest_logits(x["queries"], x["keys"], sums)
    factor = optimisers.clip_factor(maximum, float(config["threshold"]))[:, None, None]
    weights = {name: factor * x[name] for name in ("query_weight", "key_weight")}
    return {"maximum": maximum, **weights}


AROUND: Final[Mapping[Op, Function]] = {
    Op.STABLEMAX: _stablemax,
    Op.LTM_SCAN: _ltm_scan,
    Op.MAG_GATE: _mag_gate,
    Op.ACT_HALT: _act_halt,
    Op.FOURIER_CONCENTRATION: _fourier_concentration,
    Op.CIRCULAR_FIT: _circular_fit,
    Op.MUON_STEP: _muon_step,
    Op.GROKFAST: _grokfast,
    Op.PERP_GRAD: _perp_grad,
    Op.QK_CLIP: _qk_clip,
}
