"""What runs beside a scoring script, in an image or on this machine: light, and on nothing of wherry's but its own files."""
