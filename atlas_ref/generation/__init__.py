"""From a trained model to text: one token at a time, each drawn from an explicit stream of numbers."""
