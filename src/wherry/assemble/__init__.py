"""From a lock and the project's files to an image: planning layers, writing them, building the config and manifest."""
