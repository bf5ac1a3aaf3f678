"""Newton-Schulz: a matrix made nearly orthogonal (docs/spec/newton-schulz.md)."""
