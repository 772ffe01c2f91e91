"""Backbones: conv4, torchvision's and timm's, and the safe loading of their weights."""
