"""The window of pairs that a write looks at (docs/spec/memory_window.md)."""
