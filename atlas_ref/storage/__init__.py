"""What a run keeps on disk: its directory, checkpoints, log and lock, and how each is written, read and removed."""
