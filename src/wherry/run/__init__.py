"""Running things in an image or an environment."""
