"""Prediction on images: reading them, running a model, writing results and pictures."""
