"""Where blobs live. One small port, `BlobStore`, and every store passes the same contract suite."""
