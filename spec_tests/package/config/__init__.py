"""Tests of `atlas_ref.config`."""
