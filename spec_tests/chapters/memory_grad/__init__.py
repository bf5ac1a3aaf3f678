"""Gradients through the memory (docs/spec/memory_grad.md)."""
