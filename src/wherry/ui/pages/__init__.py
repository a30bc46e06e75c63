"""One module a page: what was asked for, to an answer."""
