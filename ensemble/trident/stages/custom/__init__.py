"""Stages of the user's own: what `trident new stage` begins."""
