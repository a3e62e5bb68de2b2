"""Stores: a flat map from paths to objects, in a folder or in a bucket of an S3-compatible server."""
