"""Model folders as they lie on a disk: their files, kinds and weights, read without loading a model."""
