"""Files through a service: read, score, write, with bounded memory, and go on after an interruption."""
