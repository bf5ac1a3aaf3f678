"""StableMax: probabilities without an exponential (docs/spec/stablemax.md)."""
