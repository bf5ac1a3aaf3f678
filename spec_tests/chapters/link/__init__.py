"""From the dual state to the matrices that are read: retentions as links (docs/spec/link.md)."""
