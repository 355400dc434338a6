"""The sections of `backend.py`; importing them makes the `tensorflow` backend's own package importable."""

import sys

from trident.server.embedded import TENSORFLOW_BACKEND

sys.path.append(str(TENSORFLOW_BACKEND))
