"""The gate that joins attention and memory (docs/spec/mag-gate.md)."""
