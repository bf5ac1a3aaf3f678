"""Vectors divided by their regularised length (docs/spec/normalisation.md)."""
