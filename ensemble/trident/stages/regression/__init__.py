"""Numbers out as values: the postprocess model of every regression service."""
