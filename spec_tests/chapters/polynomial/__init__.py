"""Polynomial features of keys and queries (docs/spec/features.md)."""
