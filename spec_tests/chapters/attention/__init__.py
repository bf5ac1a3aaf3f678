"""Attention over a sliding window with persistent tokens (docs/spec/attention.md)."""
