"""Tests of `atlas_ref.watching`."""
