"""Takes what scoring services send and lays it out for the next training."""
