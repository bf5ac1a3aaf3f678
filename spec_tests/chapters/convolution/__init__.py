"""The short convolution over time (docs/spec/convolution.md)."""
