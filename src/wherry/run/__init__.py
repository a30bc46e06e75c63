"""Jobs: running something in an image or an environment."""
