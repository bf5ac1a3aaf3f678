"""The specification a second time, in plain numpy loops written from the text of docs/spec alone."""
