"""Values only: what the stages hand to one another. Nothing here opens a file, a socket or a process."""
