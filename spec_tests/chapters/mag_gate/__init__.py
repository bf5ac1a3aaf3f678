"""The gate that joins attention and memory (docs/spec/mag_gate.md)."""
