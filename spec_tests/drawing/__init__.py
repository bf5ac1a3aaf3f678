"""Where inputs come from: seeded numbers, covering selections of a grid, and what hypothesis draws."""
