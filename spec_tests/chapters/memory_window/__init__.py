"""The window of pairs that a write looks at (docs/spec/window.md)."""
