"""A scan that is interrupted, saved and taken up again (docs/spec/memory_checkpoint.md)."""
