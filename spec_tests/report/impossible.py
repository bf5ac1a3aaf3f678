"""What the table seems to demand of an operation and nobody can ask, each with its reason, in this one place."""

from collections.abc import Iterator
from typing import Final

from spec_tests.contract.operations import OPERATIONS
from spec_tests.port import Op

MODEL: Final = (Op.MAG_BLOCK, Op.LM_FORWARD)
UNDIFFERENTIATED: Final = (
    (Op.FOURIER_CONCENTRATION, "a metric is read, not learned from"),
    (Op.CIRCULAR_FIT, "a metric is read, not learned from"),
    (Op.CONCENTRATION_NULL, "a metric is read, not learned from"),
    (Op.GROKKING_PHASES, "a phase is one of five numbers"),
    (Op.RETRIEVAL_GAIN, "a metric is read, not learned from"),
    (Op.MEMORY_TELEMETRY, "a metric is read, not learned from"),
    (Op.OPTIMIZER_STEP, "nobody learns through a step of an optimiser"),
    (Op.MUON_STEP, "nobody learns through a step of an optimiser"),
    (Op.GROKFAST, "nobody learns through a step of an optimiser"),
    (Op.PERP_GRAD, "nobody learns through a step of an optimiser"),
    (Op.QK_CLIP, "nobody learns through a step of an optimiser"),
    (Op.QK_CLIP_IN_SIGHT, "nobody learns through a step of an optimiser"),
    (Op.MUGROKFAST_STEP, "nobody learns through a step of an optimiser"),
    (Op.TRAIN_STEPS, "nobody learns through a step of an optimiser"),
    (Op.CHECKPOINT_ROUND_TRIP, "a state that was in a file has no derivative"),
)
ANYWHERE: Final = (
    ("chunk=0", "a chunk has one token at least"),
    ("every=0", "a memory is written once a token at most"),
    ("window=0", "a token sees itself"),
    ("span=0", "a token sees itself"),
    ("rope_base=0", "no power of zero is an angle"),
    ("loss_scale=0", "the loss is halved or not (RULE-6)"),
    ("exponent=0", "a power below one has no loss that can be descended"),
    ("smoothing=0", "an entry of zero would have no slope (BIAS-5)"),
    ("link_exponent=0", "below two an entry of zero has no slope"),
    ("link_scale=0", "rows that sum to nothing are no memory"),
    ("eps=0", "zero would have no gradient (NORM-2) and no step (GAIN)"),
    ("top=0", "no frequency has no share"),
)
OF_THE_MODEL: Final = (
    *("12 documents in a row", "position 100000"),
    *(f"not finite: {name}" for name in ("slow", "mean", "square")),
    *(f"{axis} of length " for axis in ("degree", "feed", "hidden", "span")),
)
"""Sizes and places of the model that steps of training take as it is."""
HERE: Final = (
    (Op.EPISODE_LOSS, "cotangent of weights", "a weight is a count of targets"),
    (Op.GATE_FLOOR, "cotangent of risk", "a share of gates has no slope"),
    *((op, "norm_eps=0", "a model divides by the root of more than zero") for op in MODEL),
    *((op, "momentum_max=0", "a model whose momentum is always shut has rule `delta`") for op in MODEL),
    *((op, "step_max=0", "a model whose step is always zero has no memory") for op in MODEL),
    *((op, "newton_schulz_steps=0", "a model that takes no step has rule `omega`") for op in MODEL),
    (Op.QK_CLIP, "threshold=0", "a threshold of zero clips every projection to nothing"),
    (Op.QK_CLIP_IN_SIGHT, "threshold=0", "a threshold of zero clips every projection to nothing"),
    (Op.QK_CLIP_IN_SIGHT, "not finite: queries", "a query sees itself: one that is not finite has no largest logit"),
    (Op.QK_CLIP_IN_SIGHT, "not finite: keys", "a token sees its own key"),
    (Op.QK_CLIP_IN_SIGHT, "not finite: query_weight", "a weight is of no document"),
    (Op.QK_CLIP_IN_SIGHT, "not finite: key_weight", "a weight is of no document"),
    *((Op.TRAIN_STEPS, words, "asked of lm_forward, whose model this is") for words in OF_THE_MODEL),
    (Op.TRAIN_STEPS, "learning_rate=0", "a run whose rate is zero trains nothing"),
    (Op.TRAIN_STEPS, "total_steps=0", "a run has steps"),
    (Op.TRAIN_STEPS, "steps above 64", "what is kept after four steps is all that the fifth sees (STEP-8)"),
    (Op.TRAIN_STEPS, "tensors of length ", "the parameters of the model are so many"),
    (Op.MUGROKFAST_STEP, "tensors of length ", "a step is of two tensors"),
    (Op.M3_MIX, "gradient of previous", "none reaches the previous state (M3-3)"),
)


def reason(op: Op, words: str) -> str | None:
    """Return why an operation cannot be asked for a facet, None where it can."""
    return next(_reasons(op, words), None)


def _reasons(op: Op, words: str) -> Iterator[str]:
    if words.startswith(("gradient ", "cotangent ")):
        yield from (why for other, why in UNDIFFERENTIATED if other is op)
    if meaningless := OPERATIONS[op].meaningless(_values(words)):
        yield meaningless
    yield from (why for other, why in ANYWHERE if other == words)
    yield from (why for other, what, why in HERE if (other, what) == (op, words))


def _values(words: str) -> dict[str, str]:
    """Return the values of keys that a facet speaks of."""
    return dict(word.split("=", 1) for word in words.split() if "=" in word.strip("="))
