"""Vectors of tokens or of whole texts in, embeddings out: the postprocess model of every embedding service."""
