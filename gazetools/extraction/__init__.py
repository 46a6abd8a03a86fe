"""Video to raw heatmaps: plan the inputs, run the model over every frame, commit one store file per video.

Nothing is imported here: decoding processes live in this package too and must start in a moment.
"""
