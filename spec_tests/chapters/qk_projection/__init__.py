"""The projection of queries on the keys seen so far, and its gate (docs/spec/qk_projection.md)."""
