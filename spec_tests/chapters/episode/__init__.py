"""An episode: the rows of its two phases, and its loss."""
