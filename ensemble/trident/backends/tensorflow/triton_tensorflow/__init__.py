"""The parts of the `tensorflow` backend; see ../model.py for how they meet."""
