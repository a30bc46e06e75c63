"""What an update moves, and what it costs."""
