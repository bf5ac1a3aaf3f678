"""Polynomial features of keys and queries (docs/spec/polynomial.md)."""
