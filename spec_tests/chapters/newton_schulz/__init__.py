"""Newton-Schulz: a matrix made nearly orthogonal (docs/spec/newton_schulz.md)."""
