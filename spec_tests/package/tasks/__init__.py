"""Tests of `atlas_ref.tasks`."""
