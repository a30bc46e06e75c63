"""The doctor: what would break on the device, found on the desk. It reads, and runs nothing."""
