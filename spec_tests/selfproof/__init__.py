"""The suite tested by itself: faults it must notice, saboteurs it must fail, variants it must pass."""
