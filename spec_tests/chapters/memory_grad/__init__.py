"""Gradients through the memory (docs/spec/gradient.md)."""
