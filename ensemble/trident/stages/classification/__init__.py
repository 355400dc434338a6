"""Scores in, sorted labels out: the postprocess model of every classification service."""
