"""Faults of episodes: what is masked, what is asked for where, what begins, and what counts."""

from typing import Final

import numpy as np

from spec_tests.chapters.episode import oracle
from spec_tests.faults.fault import (
    Arrays,
    Config,
    Fault,
    Wrap,
    gradients_lost,
    with_config,
    with_inputs,
    with_outputs,
)
from spec_tests.port import Array, Op, round_to_bf16

ROWS: Final = Op.EPISODE_ROWS
LOSS: Final = Op.EPISODE_LOSS
LEAK: Final = "source: an answer that can be had without the memory"
ASKED: Final = "source: what is judged is not what was asked for"
MASKED: Final = "source: a word that is masked token by token, or whose first token alone is learned"
WEIGHED: Final = "porting: a mean over other places than those that are scored"
OTHERS: Final = "source: state kept as the mean over the batch"
CUT: Final = "porting: a derivative that is missing, cut short or leaks"
WALK: Final = "test_episode:test_both_phases_are_those_of_a_walk_over_the_places"
MEANS: Final = "test_episode:test_the_loss_is_the_weighted_sum_of_the_means_of_both_phases"
ALONE: Final = "test_episode:test_rows_stand_alone"
SLOPE: Final = "test_episode:test_the_gradient_is_that_of_the_formula"
UNLEARNED: Final = "test_episode:test_a_phase_of_no_weight_is_not_learned"
WIDE: Final = "test_episode:test_the_logarithm_is_taken_in_single_precision"


def _phase(name: str, which: int, change: Array, outputs: Arrays) -> Arrays:
    """Return an output with one phase replaced."""
    changed = outputs[name].copy()
    changed[:, which] = change
    return {name: changed}


def _shown(_: Config, x: Arrays, y: Arrays) -> Arrays:
    """The answer stands beside its mask: only the first token is hidden, the others where they are."""
    first = (y["tokens"][:, 1] != x["pieces"]) & (y["tokens"][:, 1] == y["tokens"][:, 1].max())
    return _phase("tokens", 1, np.where(first, y["tokens"][:, 1], x["pieces"]), y)


def _every_token(config: Config, x: Arrays, y: Arrays) -> Arrays:
    """A mask for every token of an answer, which tells its length."""
    inside = (x["answers"] > 0) & (np.arange(x["pieces"].shape[-1]) < x["lengths"][..., None])
    return _phase("tokens", 1, np.where(inside, int(config["mask"]), x["pieces"]), y)


def _without_mask(config: Config, x: Arrays, y: Arrays) -> Arrays:
    """Nothing stands for the first token but itself."""
    masked = y["tokens"][:, 1] == int(config["mask"])
    return _phase("tokens", 1, np.where(masked, x["pieces"], y["tokens"][:, 1]), y)


def _others_masked(config: Config, x: Arrays, y: Arrays) -> Arrays:
    """The token before an answer is masked too."""
    before = np.roll(y["tokens"][:, 1] == int(config["mask"]), -1, axis=-1)
    return _phase("tokens", 1, np.where(before, int(config["mask"]), y["tokens"][:, 1]), y)


def _unshifted(config: Config, x: Arrays, y: Arrays) -> Arrays:
    """The first token is asked for at its mask, not at the position before it."""
    targets, answer = y["targets"].copy(), y["answer"].copy()
    masked = y["tokens"][:, 1] == int(config["mask"])
    before = np.roll(masked, -1, axis=-1) & (np.arange(masked.shape[-1]) < masked.shape[-1] - 1)
    targets[:, 1] = np.where(masked, x["pieces"], np.where(before, -100, targets[:, 1]))
    answer[:, 1] = np.where(masked, x["answers"], np.where(before, 0, answer[:, 1]))
    return {"targets": targets, "answer": answer}


def _first_alone(config: Config, x: Arrays, y: Arrays) -> Arrays:
    """The later tokens of an answer are not asked for."""
    before = np.roll(y["tokens"][:, 1] == int(config["mask"]), -1, axis=-1)
    return _phase("targets", 1, np.where(before, y["targets"][:, 1], -100), y)


def _as_stored(_: Config, __: Arrays, y: Arrays) -> Arrays:
    """Every token of the retrieval phase is a target."""
    return _phase("targets", 1, y["targets"][:, 0], y)


def _minus_one(_: Config, __: Arrays, y: Arrays) -> Arrays:
    """What is not asked for is marked by another number than that which a loss leaves out."""
    return _phase("targets", 1, np.where(y["targets"][:, 1] == -100, -1, y["targets"][:, 1]), y)


def _verified_in_storage(_: Config, x: Arrays, y: Arrays) -> Arrays:
    """Answers are judged in the storage phase too, where they were read a moment ago."""
    return _phase("answer", 0, y["answer"][:, 1], y)


def _renumbered(_: Config, __: Arrays, y: Arrays) -> Arrays:
    """All answers have one number."""
    return {"answer": np.minimum(y["answer"], 1)}


def _one_context(_: Config, __: Arrays, y: Arrays) -> Arrays:
    """The retrieval phase goes on in the context of the storage phase: attention still sees the answers."""
    return _phase("context", 1, np.zeros_like(y["context"][:, 1]), y)


def _two_memories(_: Config, __: Arrays, y: Arrays) -> Arrays:
    """A memory begins with the retrieval phase: there is nothing left to ask."""
    changed = y["memory"].copy()
    changed[:, 1, 0, 0] = 1
    return {"memory": changed}


def _targets_behind(_: Config, x: Arrays, y: Arrays) -> Arrays:
    """What fills up a piece is learned as if it were of it."""
    following = np.concatenate([x["pieces"][..., 1:], np.full_like(x["pieces"][..., :1], -100)], axis=-1)
    return _phase("targets", 0, following, y)


def _neighbour(_: Config, x: Arrays, y: Arrays) -> Arrays:
    """A row is asked what another was told."""
    return _phase("targets", 1, np.roll(y["targets"][:, 1], 1, axis=0), y)


def _answers_behind(_: Config, x: Arrays) -> Arrays:
    return {"lengths": np.full_like(x["lengths"], x["pieces"].shape[-1])}


def _reweighted(config: Config, x: Arrays, weight: Array) -> Arrays:
    """Return the results with other weights."""
    wide = x["logits"].astype(np.float64)
    return {"weights": weight, "losses": oracle.losses(wide, x["targets"], weight)}


def _one_mean(config: Config, x: Arrays, _: Arrays) -> Arrays:
    """The mean over all targets, whatever the number in each phase."""
    w = np.where(x["retrieved"] != 0, float(config["retrieval"]), float(config["storage"]))
    return _reweighted(config, x, np.where(x["targets"] == -100, 0.0, w))


def _all_places(config: Config, x: Arrays, y: Arrays) -> Arrays:
    """Places without a target count in the mean."""
    share = (x["targets"] != -100).mean()
    return {"losses": share * y["losses"]}


def _empty_phase(config: Config, x: Arrays, y: Arrays) -> Arrays:
    """The mean of nothing: the whole loss is not a number."""
    scored = x["targets"] != -100
    empty = any(not (scored & (x["retrieved"] == phase)).any() for phase in (0, 1))
    return {"losses": np.full_like(y["losses"], np.nan)} if empty else {}


def _narrow(config: Config, x: Arrays, y: Arrays) -> Arrays:
    return {"losses": round_to_bf16(y["losses"])}


def _f(name: str, clause: str, wrap: Wrap, origin: str, test: str = WALK) -> Fault:
    return Fault(f"episode-{name}", clause, ROWS, test, wrap, origin)


def _l(name: str, clause: str, wrap: Wrap, origin: str, test: str = MEANS) -> Fault:
    return Fault(f"episode-{name}", clause, LOSS, test, wrap, origin)


_AS_STORAGE: Final = with_config(lambda c: {"retrieval": float(c["storage"])})
_STORED_MASKED: Final = with_outputs(lambda _, x, y: _phase("tokens", 0, y["tokens"][:, 1], y))
_STORED_UNSHIFTED: Final = with_outputs(lambda _, x, y: _phase("targets", 0, x["pieces"], y))

FAULTS: Final[tuple[Fault, ...]] = (
    _f("answers-never-told", "EPI-1a", _STORED_MASKED, "misreading: storage without its answers"),
    _f("storage-unshifted", "EPI-1b", _STORED_UNSHIFTED, "source: a loss without a shift, which copying makes small"),
    _f("filling-is-learned", "EPI-1c", with_outputs(_targets_behind), WEIGHED),
    _f("no-mask", "EPI-2a", with_outputs(_without_mask), LEAK),
    _f("answer-beside-its-mask", "EPI-2b", with_outputs(_shown), LEAK),
    _f("mask-for-every-token", "EPI-2b", with_outputs(_every_token), MASKED),
    _f("question-masked", "EPI-2c", with_outputs(_others_masked), MASKED),
    _f("mask-unshifted", "EPI-3a", with_outputs(_unshifted), "source: an unshifted loss at the mask"),
    _f("first-token-alone", "EPI-3b", with_outputs(_first_alone), MASKED),
    _f("everything-asked", "EPI-3c", with_outputs(_as_stored), ASKED),
    _f("ignored-as-minus-one", "EPI-3c", with_outputs(_minus_one), "source: an ignored label of -1 beside one of -100"),
    _f("one-number", "EPI-4a", with_outputs(_renumbered), ASKED),
    _f("verified-in-storage", "EPI-4b", with_outputs(_verified_in_storage), ASKED),
    _f("window-goes-on", "EPI-5a", with_outputs(_one_context), LEAK),
    _f("memory-begins-again", "EPI-5b", with_outputs(_two_memories), "misreading: one mark for context and memory"),
    _f("answers-in-the-filling", "EPI-6a", with_inputs(_answers_behind), ASKED),
    _f(
        "neighbours-answers", "EPI-6b", with_outputs(_neighbour), "source: state kept as the mean over the batch", ALONE
    ),
    _l("storage-counts-twice", "EPI-7a", with_config(lambda c: {"storage": 2.0 * float(c["storage"])}), WEIGHED),
    _l(
        "retrieval-counts-once", "EPI-7b", with_config(lambda c: {"retrieval": float(c["storage"])}), WEIGHED, UNLEARNED
    ),
    _l("one-mean-of-both", "EPI-7b", with_outputs(_one_mean), WEIGHED),
    _l("mean-over-all-places", "EPI-7c", with_outputs(_all_places), WEIGHED),
    _l("mean-of-nothing", "EPI-7d", with_outputs(_empty_phase), WEIGHED),
    _l("in-bfloat16", "EPI-8", with_outputs(_narrow), "source: accumulators in bfloat16 stall", WIDE),
    _l(
        "logits-frozen",
        "EPI-9",
        gradients_lost("logits"),
        "porting: a derivative that is missing, cut short or leaks",
        SLOPE,
    ),
)
