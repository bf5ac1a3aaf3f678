"""What a pair teaches the memory: the error maps of the attentional biases (docs/spec/bias.md)."""
