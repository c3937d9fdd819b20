"""The scFoundation model: configuration, tokens, layers, checkpoints and inference."""
