"""Mixing of a carried state with a learned start (docs/spec/m3.md)."""
