"""Adaptive computation time: at which step a row halts, and what it pays for it (docs/spec/act.md)."""
