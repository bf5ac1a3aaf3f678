"""Faults of the recursion, and of the loss of its answers."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from spec_tests.chapters.trm.oracle import Net, refined, updated
from spec_tests.faults.fault import (
    Arrays,
    Config,
    Fault,
    Wrap,
    averaged,
    gradients_lost,
    multiplied,
    with_config,
    with_outputs,
    with_part,
)
from spec_tests.port import Array, Numerics, Op, Run

TRM: Final = Op.TRM_RECURSION
LOSS: Final = Op.SUPERVISED_LOSS
READING: Final = "misreading: TRM: what is refined from what"
SIGHT: Final = "source: attention of a language model that sees the answers"
CUT: Final = "source: recursions cut from each other, or losses that share a graph switched off"


def part(name: str, wrong: Callable[..., Any]) -> Wrap:
    """Answer like the loops with one of their functions replaced."""
    return with_part("spec_tests.chapters.trm.oracle", name, wrong)


def _answer_sees_features(_: Any, net: Net, x: Array, y: Array, z: Array, micro_steps: int) -> tuple[Array, Array]:
    for _step in range(micro_steps):
        z = refined(net, x, y, z)
    return net(y + z + x), z


def _answer_each_time(_: Any, net: Net, x: Array, y: Array, z: Array, micro_steps: int) -> tuple[Array, Array]:
    for _step in range(micro_steps):
        z = refined(net, x, y, z)
        y = updated(net, y, z)
    return y, z


def _latent_before(_: Any, net: Net, x: Array, y: Array, z: Array, micro_steps: int) -> tuple[Array, Array]:
    """Return the latent that the last refinement began with."""
    before = z
    for _step in range(micro_steps):
        before, z = z, refined(net, x, y, z)
    return updated(net, y, z), before


def _answer_first(_: Any, net: Net, x: Array, y: Array, z: Array, micro_steps: int) -> tuple[Array, Array]:
    """Update the answer from the latent that was there, then refine."""
    y = updated(net, y, z)
    for _step in range(micro_steps):
        z = refined(net, x, y, z)
    return y, z


def _centred(right: Callable[..., Array], x: Array, *more: Any) -> Array:
    """A layer norm in the place of the RMS norm."""
    return right(x - x.mean(), *more)


def _all(_: Any, time: int, position: int, window: int, count: int) -> list[int]:
    return list(range(count))


def _other_documents(right: Callable[..., list[int]], time: int, position: int, window: int, count: int) -> list[int]:
    return right(time, time, window, count)


def _one_less(right: Callable[..., list[int]], time: int, position: int, window: int, count: int) -> list[int]:
    return right(time, position, max(1, window - 1), count)


def learned_through(*names: str) -> Wrap:
    """Build a fault that learns through every recursion: the gradients of these inputs are those of all of them."""

    def wrap(run: Run) -> Run:
        def faulty(op: str, config: Config, inputs: Arrays, *, numerics: Numerics, taps: frozenset[str]) -> Arrays:
            outputs = run(op, config, inputs, numerics=numerics, taps=taps)
            through = run(op, {**config, "no_grad_recursions": 0}, inputs, numerics=numerics, taps=taps)
            grads = {f"grad.{name}" for name in names}
            return {name: through[name] if name in grads else value for name, value in outputs.items()}

        return faulty

    return wrap


def _block_alone(right: Callable[..., list[int]], time: int, position: int, window: int, count: int) -> list[int]:
    """Attend in blocks of sixteen tokens that do not see each other."""
    return [token for token in right(time, position, window, count) if token // 16 == time // 16]


def _stops_between_blocks(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Lose the gradients of all but the last block of sixteen tokens."""
    last = (x["x"].shape[1] - 1) // 16 * 16
    early = np.arange(x["x"].shape[1])[None, :, None] < last
    names = [f"grad.{name}" for name in "xyz" if f"grad.{name}" in outputs]
    return {name: np.where(early, 0.0, outputs[name]) for name in names}


def _or_usual(config: Config) -> Config:
    """Take a number of nothing for one that was left out."""
    usual = {"micro_steps": 2, "recursions": 1, "norm_eps": 1e-2}
    return {name: config[name] or value for name, value in usual.items()}


def _by_count(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {"loss": outputs["loss"] * x["weights"].sum() / len(x["weights"])}


def _unweighted(_: Config, x: Arrays, __: Arrays) -> Arrays:
    return {"loss": x["losses"].mean(-1)}


def _last_alone(_: Config, x: Arrays, __: Arrays) -> Arrays:
    return {"loss": x["losses"][:, -1]}


def _last_learned(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Only the last answer keeps its graph."""
    if "grad.losses" not in outputs:
        return {}
    last = np.arange(x["losses"].shape[1]) == x["losses"].shape[1] - 1
    return {"grad.losses": np.where(last, outputs["grad.losses"], 0.0)}


def _trm(name: str, clause: str, test: str, wrap: Wrap, origin: str) -> Fault:
    module = "test_trm_long" if test in (SIZES, NOTHING, BLOCKS) else "test_trm"
    return Fault(f"trm-{name}", clause, TRM, f"{module}:{test}", wrap, origin)


def _loss(name: str, clause: str, test: str, wrap: Wrap) -> Fault:
    return Fault(f"trm-{name}", clause, LOSS, f"test_trm_loss:{test}", wrap, CUT)


REFINED: Final = "test_latent_and_answer_are_refined_as_written"
SEEN: Final = "test_a_token_sees_its_window_of_its_document_and_nothing_later"
LEARNED: Final = "test_gradients_flow_through_every_recursion_but_the_first_ones"
MEAN: Final = "test_the_loss_is_the_weighted_mean_of_those_of_the_answers"
SHARE: Final = "test_the_gradient_of_each_answer_is_its_share_of_the_weights"
SIZES: Final = "test_calls_of_every_size_are_those_of_the_loops"
NOTHING: Final = "test_no_refinement_no_recursion_and_no_cushion_are_numbers_too"
BLOCKS: Final = "test_no_gradient_stops_between_two_blocks_of_a_call"
OWN: Final = "test_many_rows_have_each_their_own_loss"
MATRICES: Final = ("query", "key", "value", "output", "gate", "up", "down")

FAULTS: Final[tuple[Fault, ...]] = (
    _trm("latent-without-answer", "TRM-1a", REFINED, part("refined", lambda _, net, x, y, z: net(z + x)), READING),
    _trm("latent-without-features", "TRM-1a", REFINED, part("refined", lambda _, net, x, y, z: net(z + y)), READING),
    _trm("one-refinement", "TRM-1a", REFINED, with_config(lambda _: {"micro_steps": 1}), READING),
    _trm("answer-sees-features", "TRM-1b", REFINED, part("recursion", _answer_sees_features), READING),
    _trm("answer-at-every-refinement", "TRM-1b", REFINED, part("recursion", _answer_each_time), READING),
    _trm("answer-first", "TRM-1b", REFINED, part("recursion", _answer_first), READING),
    _trm("latent-before", "TRM-1c", REFINED, part("recursion", _latent_before), READING),
    _trm("one-recursion", "TRM-2", REFINED, with_config(lambda _: {"recursions": 1}), READING),
    _trm("without-residual", "TRM-3a", REFINED, part("joined", lambda _, u, given: given), READING),
    _trm("layer-norm", "TRM-3b", REFINED, part("normed", _centred), READING),
    _trm("norm-without-eps", "TRM-3b", REFINED, with_config(lambda _: {"norm_eps": 1e-30}), READING),
    _trm("sees-all", "TRM-4a", SEEN, part("seen", _all), SIGHT),
    _trm("sees-other-documents", "TRM-4b", SEEN, part("seen", _other_documents), SIGHT),
    _trm("window-one-short", "TRM-4c", SEEN, part("seen", _one_less), "misreading: the window counts the token itself"),
    _trm("matrices-learn-through-all", "TRM-5a", LEARNED, learned_through(*MATRICES), CUT),
    _trm("beginnings-learn-through-all", "TRM-5b", LEARNED, learned_through("y", "z"), CUT),
    _trm("cut-inside-the-last", "TRM-5c", LEARNED, gradients_lost("x", "z"), CUT),
    _trm("blocks-alone", "TRM-4c", SIZES, part("seen", _block_alone), SIGHT),
    _trm("stops-between-blocks", "TRM-5c", BLOCKS, with_outputs(_stops_between_blocks), CUT),
    _trm("nothing-is-the-usual", "TRM-1a", NOTHING, with_config(_or_usual), "porting: `x or default`"),
    *multiplied("trm", TRM, "TRM-4b", "test_trm_sight", "x", "y", "z"),
    _trm("rows-averaged", "TRM-6", "test_rows_are_independent", averaged("y", "z"), "porting: one row or head for all"),
    _loss("divided-by-their-number", "TRM-7a", MEAN, with_outputs(_by_count)),
    _loss("answers-alike", "TRM-7a", MEAN, with_outputs(_unweighted)),
    _loss("last-answer-alone", "TRM-7a", MEAN, with_outputs(_last_alone)),
    _loss("last-answer-learned", "TRM-7b", SHARE, with_outputs(_last_learned)),
    Fault("trm-losses-averaged", "TRM-7a", LOSS, f"test_trm_long:{OWN}", averaged("losses"), CUT),
)
