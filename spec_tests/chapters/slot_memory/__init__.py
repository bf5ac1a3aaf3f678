"""The memory of slots (docs/spec/slot_memory.md)."""
