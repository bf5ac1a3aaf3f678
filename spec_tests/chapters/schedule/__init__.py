"""When a memory is written, and where it begins again inside a document (docs/spec/schedule.md)."""
