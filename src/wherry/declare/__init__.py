"""Reading a project: files people wrote, to one `Declaration`."""
