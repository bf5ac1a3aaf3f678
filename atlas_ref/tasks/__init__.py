"""What a model is trained for: where its batches come from, what is minimised, and how it is judged."""
