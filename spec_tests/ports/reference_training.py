"""The reference port's operations of the blocks around the memory, of the metrics and of the outer optimisers."""

from collections.abc import Mapping
from typing import Final

from atlas_ref.functional.act import act_halt
from atlas_ref.functional.ltm import ltm_scan
from atlas_ref.functional.mag_gate import mag_gate
from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.functional.stablemax import stablemax
from atlas_ref.metrics.grokking import circular_fit, fourier_concentration
from atlas_ref.optim.grokfast import grokfast
from atlas_ref.optim.muon import muon_step
from atlas_ref.optim.perp_grad import perp_grad
from atlas_ref.optim.qk_clip import largest_logit, qk_clip
from spec_tests.port import Op
from spec_tests.ports.reference_memory import Config, Function, Tensors


def _stablemax(_: Config, x: Tensors) -> Tensors:
    return {"probabilities": stablemax(x["x"])}


def _ltm_scan(config: Config, x: Tensors) -> Tensors:
    y, carry = ltm_scan(x["x"], x["carry"], x["position"], config["decay"])
    return {"y": y, "carry": carry}


def _mag_gate(config: Config, x: Tensors) -> Tensors:
    logits = x["logits"] if config["kind"] == "convex" else None
    found = mag_gate(x["attention"], x["memory"], logits, config["floor"])
    return {"gate": found.gate, "joined": found.joined}


def _act_halt(config: Config, x: Tensors) -> Tensors:
    halt = act_halt(x["probabilities"], config["threshold"])
    return {"halted": halt.steps, "weights": halt.weights, "ponder": halt.ponder}


def _fourier_concentration(config: Config, x: Tensors) -> Tensors:
    return {"concentration": fourier_concentration(x["embedding"], config["top"])}


def _circular_fit(_: Config, x: Tensors) -> Tensors:
    return circular_fit(x["embedding"], x["permutations"])._asdict()


def _muon_step(config: Config, x: Tensors) -> Tensors:
    weight, buffer = muon_step(
        x["weight"],
        x["buffer"],
        x["gradient"],
        learning_rate=config["learning_rate"],
        momentum=config["momentum"],
        weight_decay=config["weight_decay"],
        coefficients=config["coefficients"],
        steps=config["newton_schulz_steps"],
    )
    return {"weight": weight, "buffer": buffer}


def _grokfast(config: Config, x: Tensors) -> Tensors:
    filtered, averages = grokfast(x["gradients"], config["alpha"], config["strength"])
    return {"filtered": filtered, "averages": averages}


def _perp_grad(config: Config, x: Tensors) -> Tensors:
    return {"filtered": perp_grad(x["weight"], x["gradient"], config["rescale"])}


def _qk_clip(config: Config, x: Tensors) -> Tensors:
    maximum = largest_logit(at_least_float32(x["queries"]), at_least_float32(x["keys"]))
    query_weight, key_weight = qk_clip(x["query_weight"], x["key_weight"], maximum, config["threshold"])
    return {"maximum": maximum, "query_weight": query_weight, "key_weight": key_weight}


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
