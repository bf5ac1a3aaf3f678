"""Steps of the outer optimiser: Muon, Grokfast, perp-grad, QK-clip (docs/spec/optimisers.md)."""
