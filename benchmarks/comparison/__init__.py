"""The parts of `benchmarks/peers.py`; the peers themselves are in `benchmarks/peers/`."""
