"""Tests of this package itself: configuration, data, model, training, command line. They ask no port."""
