"""The words of the page on published models; `models_page` fills in the tables."""

BODY = """# Published models as one memory

Written by `python -m benchmarks.models --out docs/models.md`: what is to be changed is a preset, or the words in
`spec_tests/package/memory/models_words.py`.

A test-time memory is four choices (MIRAS, 2504.13173): what is written (**architecture**), which loss a write makes
smaller (**attentional bias**), what is kept (**retention**), and how the loss is made smaller (**algorithm**). Linear
attention, DeltaNet, Mamba-2, Titans and Moneta are points of one table. Here each is a preset:

    atlas train --config deltanet              # the preset tiny with the memory of DeltaNet
    atlas train --config recall+kda            # the preset recall, or a TOML file, with that of KDA
    atlas config show gated-deltanet           # every field, with what it means
    atlas config list                          # all {models}, with their axes

The files are `atlas_ref/config/presets/models/*.toml`: three lines of what the model is, its equation and where it
departs from its paper, then `[model.memory]`, complete. Any field can be changed by `--set
model.memory.bias.kind=huber_norm` and the like; a combination that has no meaning is refused with the two fields and
the reason.

## The axes of each

{axes}

*Memory*: `matrix` M x; `mlp` x + M1 gelu(M2 x); `linear_norm` and `mlp_norm` with LayerNorm before the sum; `mlp_glu`
with a gate. *Inner loss*: of the prediction of a value from its key. *Keeps*: what has a retention gate of its own,
or `one`, `retnet`, `mamba2`; behind the semicolon the link from the dual state, on which forgetting acts, to the
weights that are read. *Algorithm*: the rule of a gradient step (`delta`: one token, no momentum; `omega`: a window;
`titans`: momentum; `atlas`: momentum through Newton-Schulz), or `implicit`, `ridge`. *Chunk*: tokens whose gradients
are taken at one memory; 1 is exact and computed many tokens at a time all the same. *Steps*: bounded by the curvature
of the loss (`step_scale = "mass"`), or as printed.

## Equations, departures, and how exact

k, q are unit keys and queries, v a value, alpha retention, theta momentum, eta step, gamma window weights, f
features, M_xi the memory at the start of the chunk; a read is M_t q_t, or P(q_t) for a network, after the token's own
write. Errors are relative, in float64: the preset's rule with steps as printed against a recurrence written from the
paper in numpy, in another convention, with no shared code; gradients by the complex step, the worst of all inputs.

{sources}

`spec_tests/package/memory/test_named_models.py` holds all of them below 1e-12 (Memora 1e-10: its printed form takes
logarithms of small weights), `spec_tests/package/models/test_published_models.py` trains, resumes and generates with
each.

**Common to all**, and not in their papers: the memory stands beside window attention in a MAG block, joined by a
gate; keys, queries and values pass a convolution of four tokens; keys and queries are unit vectors after SiLU, times
a learned scale that starts at 1; M_0 is learned (MesaNet has none). `--set model.disable_memory=true` is the same
block with nothing written.

**Names that mislead.** Gated DeltaNet is not `delta` with a gate: its error is that of the memory after forgetting
(`error_at = "retained"`). Moneta's printed link A / ||A||_q^(q-2) halves the weights when the dual doubles, at q = 4;
`lq` is the mirror map of which it is short, `lq_printed` the quotient. Longhorn's step is exact for every beta,
DeltaNet's overshoots beyond beta ||k||^2 = 1.

## Which are bounded

`python -m benchmarks.stability_models` feeds every preset, and every bias, link and architecture, 80 hard inputs (one
key throughout, nearly equal keys, keys of norm 4, gates at their ends), and takes gradients through all tokens.
[Findings](findings.md) has the numbers.

| what | bounded? |
|---|---|
| a preset with an error in its loss, steps bounded | yes: no input leads beyond the bounds |
| `longhorn`, `mesa`, steps as printed | yes: both solve, and do not step |
| `dot` on a matrix (linear attention and its kin) | by the sum of what is written, less what is forgotten |
| `dot` on a network or behind LayerNorm | no, whatever the steps: a positive feedback; no preset has it |
| `lq_printed` | no, whatever the steps: its slope is steep where the dual is small; no preset has it |
| `yaad_printed`, `mlp_glu` | no: as printed only; a jump has no slope, a gated network no known bound |
| any other rule as printed (`step_scale = "literal"`) | no: hard inputs make it diverge |

## Recall, rule by rule

    python -m benchmarks.recall_study --variants deltanet kda mesa moneta --seeds 0 1 2 --jobs 2

trains the preset `recall` with the memory of each (`recall+deltanet`), chunks as the model has them, and prints
accuracy a seed; it takes any name of the tables and the variants of before. For one run: `atlas train --config
recall+moneta --set model.memory.bias.exponent=2`. `atlas preflight --config kda` asks before a long run whether its
memory is of use.
"""
