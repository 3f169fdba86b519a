"""Model to ONNX, with the proof that it is the same model."""
