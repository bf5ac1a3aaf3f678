"""Episodes small enough for a test: two pieces of two sums mod 7 a phase, forty tokens in all, answers drawn."""

EPISODES = (
    "model.gate.kind='convex_memory'",
    "data.source='episodes'",
    "data.episodes.answers='random'",
    "data.episodes.text_share=0.0",
    "data.episodes.length=10",
    "data.episodes.pieces=2",
    "data.sequence_length=40",
    "data.arithmetic.modulus=7",
    "data.arithmetic.share=0.5",
    "model.vocab_size=10",
    "train.best='retrieval_gain'",
)
"""Overrides that turn the small model to episodes; an answer is right by chance once in seven times."""

WITH_TEXT = (
    "data.episodes.text_share=0.5",
    "data.episodes.answers='true'",
    "data.episodes.length=32",
    "data.episodes.masks=2",
    "data.sequence_length=128",
    "model.vocab_size=267",
)
"""Further overrides, for pieces of text in bytes and true sums beside them."""
