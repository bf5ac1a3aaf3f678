"""Functions over gradients and weights that outer optimisers are made of, one a file."""
