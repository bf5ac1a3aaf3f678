"""Halting that is learned (docs/spec/halt.md)."""
