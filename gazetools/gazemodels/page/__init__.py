"""PaGE (arXiv 2607.04860): two DINOv3 towers, one on the frame and one on each person's head, and a decoder."""
