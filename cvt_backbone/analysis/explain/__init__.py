"""Looking into a model: feature maps, class activation maps, attention; as tensors and as pictures."""
