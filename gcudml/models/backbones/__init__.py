"""Backbones: conv4 and the networks of torchvision and timm, with their pretrained weights."""
