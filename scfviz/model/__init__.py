"""The scFoundation model: configuration, tokens, layers, checkpoints, inference and pretraining."""
