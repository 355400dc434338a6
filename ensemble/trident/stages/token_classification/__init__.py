"""Scores of tokens in, labelled spans of the text out: the postprocess model of every token classification service."""
