"""Trident: TensorFlow models as a service on NVIDIA Triton."""

import sys
from pathlib import Path

__version__ = "0.1.0"

# What is found out before serving is found out with the backend's own modules; Triton's stub, too, finds them there.
sys.path.append(str(Path(__file__).parent / "backends" / "tensorflow"))
