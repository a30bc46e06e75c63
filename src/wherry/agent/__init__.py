"""What runs on a device: it looks for releases, believes what is signed, and exchanges containers."""
