"""Records in, numbers out: the preprocess model of every tabular service."""
