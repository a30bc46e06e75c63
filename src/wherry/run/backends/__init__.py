"""The places where jobs go, one file each, behind `wherry.run.port`."""
