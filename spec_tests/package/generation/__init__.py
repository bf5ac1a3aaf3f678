"""Tests of `atlas_ref.generation`."""
