"""The memory alone, behind a linear gate (docs/spec/lmm.md)."""
