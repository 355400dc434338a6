"""The preprocess and postprocess models that `build` copies into version folders."""
