"""A gain that is learned through its logarithm (docs/spec/gain.md)."""
