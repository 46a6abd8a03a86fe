"""Gaze models outside torch: their graphs as ONNX files, and the programs that run such files."""
