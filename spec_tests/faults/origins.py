"""Where the seeded faults come from.

`source`: what one of the source systems, or a public implementation, really does or did. `misreading`: a convention
that the papers leave open, print in several ways or misprint. `porting`: what goes wrong when a sound model is written
again.
A fault that is named nowhere here says its origin itself.
"""

from collections.abc import Mapping
from typing import Final

SOURCE: Final[Mapping[str, str]] = {
    "Newton-Schulz multiplies from the wrong side, X (X X^T)": "ns-wrong-side ns-wrong-side-turns-vectors",
    "Newton-Schulz without normalising first: any singular value above sqrt(3) diverges": "ns-not-normalised",
    "the length of the matrix comes back after Newton-Schulz": "ns-norm-multiplied-back opt-length-restored "
    "rule-atlas-norm-multiplied-back",
    "a matrix of norm below 1e-7 is returned as it is": "ns-tiny-input-unchanged",
    "large matrices normalised by column or row, and called orthogonal": "ns-columns-normalised-when-tall "
    "ns-rows-normalised-when-wide rule-tall-matrices-left-alone",
    "steps of Newton-Schulz that shrink with the age of the state": "ns-at-most-three-steps",
    "the claim that the quintic set converges to one": "ns-exact-polar-factor ns-cubic-for-quintic",
    "orthogonalise first and average after": "opt-orthogonalised-before-momentum "
    "rule-atlas-orthogonalised-before-momentum",
    "x / max(||x||, eps) and its like: a length without its square": "norm-eps-as-a-bound norm-eps-added-to-the-length",
    "queries and keys normalised over all heads at once: attention becomes uniform": "att-normalised-across-heads "
    "norm-over-all-vectors",
    "element-wise features: random keys collapse to a cosine of 0.998": "feat-elementwise-collapse",
    "a constant among the features": "feat-constant",
    "features pass through a layer normalisation": "feat-standardised",
    "the gain, or its logarithm, stored in bfloat16": "gain-logarithm-in-bf16 gain-raw-in-bf16 gain-step-rounded-away",
    "a circuit breaker holds the gain at six": "gain-held-by-a-circuit-breaker",
    "a fallback called AdamW is plain descent": "gain-plain-descent",
    "the mixing weight cannot learn": "m3-logit-never-learns m3-initial-detached",
    "one row's boundary resets all rows, by any()": "m3-one-row-speaks-for-all mem-one-reset-for-all-rows",
    "state kept as the mean over the batch": "block-tail-averaged lm-rows-share-logits "
    "m3-state-averaged-over-the-batch mem-state-averaged "
    "mem-gradient-averaged qk-carry-averaged ltm-carry-averaged conv-tail-averaged att-cache-averaged",
    "attention without a cache from call to call": "block-cache-forgotten att-cache-dropped",
    "persistent tokens leak into the convolution of the first tokens": "block-memory-sees-persistent-tokens "
    "conv-prefix-leaks-in",
    "attention that is not causal, the target in sight": "block-sees-the-next-token lm-logits-of-the-next-token "
    "att-not-causal att-sees-the-next-token conv-centred",
    "projection by past keys only, fading, from a multiple of the identity, divided": "qk-strictly-past "
    "qk-older-keys-fade qk-started-at-the-identity qk-divided-by-its-weights",
    "projection by the keys of the whole block, or by their mean": "qk-whole-call qk-mean-of-keys",
    "accumulators in bfloat16 stall": "ckpt-saved-in-bf16 "
    "qk-carry-in-bfloat16 mem-state-in-bfloat16 mag-gate-in-bf16 "
    "ns-result-in-bfloat16",
    "the gate of the bounded projection: raw gain, gain outside, no norm": "qk-gate-raw-gain qk-gate-gain-after-tanh "
    "qk-gate-not-divided qk-gate-not-bounded qk-gate-scale-inside",
    "a sequence is written whole and read with the last state: the future leaks": "mem-reads-of-the-last-state "
    "ltm-mean-of-all",
    "writes are switched off in evaluation": "lm-memory-never-written mem-never-written call-writes-in-training-only",
    "the memory is never used, so that every test of leaks passes": "block-without-memory "
    "mem-never-read qk-not-projected "
    "conv-own-token-only att-sees-itself-only mag-memory-squashed",
    "a reset that resets the momentum only": "mem-reset-keeps-weights",
    "resets that nothing calls": "lm-marks-ignored "
    "conv-no-reset att-no-reset qk-no-reset ltm-not-reset mem-fresh-row-trusted "
    "mem-reset-keeps-position mem-reset-keeps-anchor mem-reset-keeps-window mem-reset-keeps-momentum",
    "buffers that outlive the call, counters that probing moves": "call-buffer-persists call-schedule-by-calls "
    "call-stale-answer",
    "a smaller batch begins its state again, or none is carried": "mem-state-of-the-call ltm-carry-forgotten "
    "call-batch-of-one-squeezed",
    "a spread over one element is not a number": "call-spread-of-one-row",
    "the step divided by one plus the length of the gradient": "rule-adaptive-step",
    "M scaled back at a norm of 50": "rule-state-clipped",
    "one update a chunk, gates of one token or of the mean of the chunk": "mem-one-write-a-chunk "
    "mem-gates-of-the-first-token mem-gates-averaged",
    "gradients as a mean over values, window or chunk": "rule-mean-over-values win-mean-over-the-window "
    "chunk-mean-of-gradients win-gamma-normalised",
    "window weights that fade by age whatever the gates say": "win-fading-by-age",
    "checkpoints without the state of the memory": "ckpt-momentum-not-saved ckpt-window-not-saved "
    "ckpt-position-not-saved ckpt-anchor-not-saved",
    "detached writes: keys, values and gates learn nothing from the memory": "block-memory-learns-nothing "
    "grad-writes-detached grad-keys-detached "
    "grad-values-detached grad-whole-state-detached ltm-detached-at-every-step grad-state-detached "
    "chunk-detached-in-the-carry grad-m-0-detached",
    "a hard floor under a gate has no gradient": "mag-floor-clamped mag-floor-ignored",
    "retention with a floor under it": "mem-retention-floored",
    "the averages of Grokfast subtracted: a high-pass filter": "opt-high-pass opt-high-pass-amplifies-noise",
    "a loss of halting without a gradient, a threshold read the wrong way": "act-cost-has-no-gradient "
    "act-weights-have-no-gradient act-threshold-inverted act-cost-is-the-step-count",
    "a measure of circles that noise passes: mirror frequencies, spread of residuals": "grok-mirror-excluded "
    "grok-spread-of-residuals grok-mean-counted grok-lowest-frequencies",
    "decay products masked after the exponential: NaN gradients at theta^64": "grad-masked-after-the-exponential",
    "weights clipped by counting outputs, or twice": "opt-clipped-by-gamma opt-all-heads-clipped",
}

MISREADING: Final[Mapping[str, str]] = {
    "the factor 2 of the squared error": "rule-gradient-doubled rule-loss-scale-ignored",
    "retention or forgetting: alpha or 1 - alpha": "rule-retention-inverted rule-retention-after-write "
    "rule-retention-dropped",
    "the step size inside or outside the momentum": "rule-titans-nesterov rule-momentum-decay-late "
    "rule-momentum-undecayed rule-delta-with-momentum rule-momentum-averaged",
    "the step size inside or outside Newton-Schulz": "rule-atlas-step-inside rule-appendix-step-outside",
    "two minus signs make an ascent": "rule-ascent rule-first-write-climbs rule-value-with-the-wrong-sign",
    "the step size in the gradient and once more outside": "rule-step-size-twice",
    "the dot product or the absolute error for the squared one": "rule-hebbian rule-absolute-error",
    "reads before or after the write": "mem-post-reads-before-the-write mem-pre-reads-after-the-write "
    "mem-reads-the-anchor",
    "the anchor xi and indices that begin at one": "mem-anchor-moved-late mem-anchor-moved-early chunk-anchor-late "
    "chunk-of-two mem-anchored-before-reset",
    "M_0 printed for the state at xi": "chunk-anchored-at-the-start",
    "the chunk as a mere schedule": "chunk-current-state chunk-length-ignored",
    "Eq. 6 of TNT as printed counts the chunk's sums twice": "chunk-sums-counted-twice",
    "a quotient of decay products where one is zero": "mem-divided-by-retentions grad-quotient-of-products "
    "grad-logarithm-of-zero",
    "the window at the start of a chunk or document": "win-truncated-under-carry win-carried-under-truncate "
    "win-dead-places-count win-old-anchor win-of-the-call",
    "gamma by age, by position or by pair": "win-gamma-reversed win-gamma-by-position win-gamma-late "
    "win-gate-of-the-pair win-strictly-past",
    "1/i! on the features or on the kernel": "feat-coefficient-on-feature feat-factorial-fixed "
    "feat-monomial-coefficient-not-rooted",
    "the weights of monomials, and which basis": "feat-unweighted-monomials feat-monomials-weighted "
    "feat-kronecker-without-repeats feat-elementwise-without-constant feat-coefficient-of-the-next-degree",
    "coefficients, steps, eps and transpose of Newton-Schulz": "ns-one-step-less ns-without-transpose "
    "ns-quintic-for-every-set ns-spectral-start ns-set-begins-again ns-without-cushion ns-cubic-for-polar-express "
    "ns-offset-of-1e-5 rule-atlas-wrong-polynomial rule-atlas-five-steps-always rule-atlas-one-set-for-all "
    "rule-atlas-not-orthogonalised rule-atlas-normalised-only rule-appendix-not-orthogonalised",
    "Newton-Schulz over what is one matrix only together": "rule-one-norm-for-all-matrices ns-norm-over-the-batch",
    "the norm of queries and keys: l2 or root mean square, eps or its root": "norm-root-mean-square norm-eps-as-square",
    "SiLU on values, inside the convolution, normalisation twice": "rule-values-through-silu conv-silu-included "
    "rule-keys-normalised-again mem-query-normalised-again",
    "the MLP memory: residual, activation, normalisation": "mem-mlp-without-residual mem-residual-in-the-matrix "
    "mem-silu-for-gelu mem-gelu-by-tanh mem-gelu-by-the-logistic mem-read-standardised rule-residual-not-learned",
    "the derivative of a polar factor at a rank-one momentum": "grad-of-a-polar-factor",
    "the scale and the sight of attention": "att-without-scale att-scale-of-the-whole-model att-window-one-less "
    "att-window-one-more att-without-persistent-tokens att-persistent-tokens-age-out",
    "which norm, which keys and which token of Pi": "qk-trace-for-norm qk-keys-not-normalised "
    "qk-norm-of-the-last-token",
    "the ramp of the mixing: its ends, its units, its logit": "m3-no-warmup m3-crossing-too-many m3-ramp-from-zero "
    "m3-logit-without-sigmoid m3-swapped m3-previous-not-stopped m3-logit-learns-in-warmup",
    "`mass` normalisation left out in one place": "rule-mass-without-window rule-mass-without-fresh-share "
    "rule-mass-without-horizon rule-delta-with-horizon rule-mass-without-curvature rule-curvature-of-the-key-alone "
    "rule-curvature-without-error rule-mass-orthogonalised-as-printed rule-curvature-not-bounded "
    "rule-mass-taken-literally",
    "Muon: momentum, scale, Nesterov; what is rescaled": "opt-scaled-by-columns opt-without-nesterov "
    "opt-perpendicular-row-by-row opt-never-rescaled",
    "where Grokfast's average begins": "opt-average-from-zero",
    "the logit of QK-clip: its scale and its sight": "opt-logit-without-root-of-dim opt-logit-of-the-future",
    "StableMax: a floor, the branch, the axis": "stab-softmax stab-floor stab-gradient-of-one-branch "
    "stab-normalised-over-the-batch",
    "ACT: cumulated probability, remainder, cost": "act-probabilities-not-summed act-without-remainder",
    "an average or a sum": "ltm-sum",
    "which side of the gate": "mag-shares-swapped",
}

PORTING: Final[Mapping[str, str]] = {
    "squares overflow or underflow": "norm-square-overflows norm-tiny-vectors-vanish stab-overflow "
    "att-exponential-overflows",
    "a division by zero, or its derivative": "ns-nan-at-zero ns-gradient-nan-at-zero norm-gradient-nan-at-zero "
    "qk-nan-gradient-of-zero-keys",
    "a product with a mask of zeros: 0 times infinity": "conv-masked-by-product",
    "a filter or a cache the wrong way round": "conv-filter-reversed conv-tail-newest-first mem-window-newest-first "
    "att-cache-one-token-late",
    "state that is not handed on, or only that of one call": "block-tail-forgotten "
    "block-momentum-forgotten lm-window-forgotten "
    "conv-tail-dropped conv-tail-of-one-call qk-carry-dropped "
    "mem-momentum-not-carried mem-window-dropped-between-calls mem-momentum-dropped-between-calls "
    "chunk-carried-momentum-undecayed",
    "the anchor of the call for that of the chunk": "mem-anchor-of-the-call chunk-anchor-of-the-call",
    "phases of the call or of the first row": "chunk-phase-of-the-call chunk-phase-of-row-0 chunk-phase-lost-in-splits",
    "tokens after the last whole chunk are forgotten": "chunk-remainder-dropped mem-remainder-dropped",
    "a count that is off by one, or that counts an empty call": "block-reset-one-token-late "
    "mem-position-off-by-one mem-empty-call-counts "
    "mem-reset-one-token-late",
    "one row or head for all": "conv-tail-of-row-0 mem-initial-of-head-0 feat-centred-over-the-batch "
    "act-rows-halt-together",
    "another layout of the packed matrices": "block-heads-interleaved "
    "block-gates-in-another-order lm-feed-forward-halves-swapped ckpt-rows-mixed-up "
    "mem-packed-by-columns mem-inner-matrix-first",
    "a derivative that is missing, cut short or leaks": "block-reads-not-stopped "
    "feat-coefficients-frozen feat-vectors-detached "
    "ns-straight-through-gradient ns-norm-detached conv-tail-detached conv-filter-detached "
    "att-persistent-tokens-frozen att-cache-detached qk-carry-detached qk-keys-detached chunk-anchor-detached "
    "grad-of-the-last-writes-only grad-retention-detached grad-momentum_decay-detached grad-step_size-detached "
    "grad-window_weights-detached grad-window-detached grad-leaks-over-a-reset grad-fresh-start-cut-off "
    "grad-queries-detached grad-anchor-detached grad-reaches-later-queries mag-logits-frozen",
    "a sight that is wrong by one document or token": "att-cache-of-another-document mag-next-token",
    "back-propagation through the MLP memory": "rule-inner-slope-missing rule-outer-matrix-only",
    "a value in another space": "gain-without-exponential",
    "a part of the block left out, or another constant": "block-without-residual block-other-rotary-base "
    "block-convolution-halved block-step-bound-ignored block-queries-not-projected lm-head-not-tied",
    "dropout left on": "call-dropout-left-on",
    "the statistics of the circle": "grok-first-two-columns grok-null-is-the-statistic grok-not-centred",
}


def origins() -> dict[str, str]:
    """Return the origin of every fault that is named here."""
    kinds = {"source": SOURCE, "misreading": MISREADING, "porting": PORTING}
    return {
        fault: f"{kind}: {text}"
        for kind, texts in kinds.items()
        for text, ids in texts.items()
        for fault in ids.split()
    }
