"""Vectors divided by their regularised length (docs/spec/normalize.md)."""
