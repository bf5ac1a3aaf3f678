"""Whole steps of training: forward, loss, gradient, clipping, optimiser (docs/spec/step.md)."""
