"""Bytes to values and back. Nothing here opens a file, a socket or a process: bytes come in through what the caller hands over."""
