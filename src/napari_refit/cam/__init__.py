"""From an image to response maps: classifiers, their checkpoints, and class activation mapping."""
