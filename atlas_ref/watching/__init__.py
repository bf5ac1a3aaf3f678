"""What looks at a run while it trains: measurements, kill switches, speed, sinks and how it ended."""
