"""Text in, token ids out: the preprocess model of every text service."""
