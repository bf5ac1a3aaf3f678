"""Two marks: a context and a memory that begin apart (docs/spec/marks.md)."""
