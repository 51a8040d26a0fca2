"""Unsupervised segmentation: from an image to clusters."""
