"""Grokking: the null of a concentration, and the phases of a run (docs/spec/grokking.md)."""
