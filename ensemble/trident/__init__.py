"""Trident: TensorFlow models as a service on NVIDIA Triton."""

__version__ = "0.1.0"
