"""Image files in, pixels out: the preprocess stage of every image service."""
