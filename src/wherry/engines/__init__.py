"""Container engines: docker, podman, containerd, bubblewrap. Each loads an image, runs it, and shows its root tree."""
