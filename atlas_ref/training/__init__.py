"""The loop: how a run starts, one step, what it leaves at a step, and how it is judged."""
