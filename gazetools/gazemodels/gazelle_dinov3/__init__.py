"""gazelle-dinov3: Gaze-LLE's decoder on DINOv3 towers, small ViTs and HGNetV2; `loading.load` makes a model."""
