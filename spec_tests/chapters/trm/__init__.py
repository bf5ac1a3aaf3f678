"""The recursion of a tiny recursive model (docs/spec/trm.md)."""
