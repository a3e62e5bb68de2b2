"""Artifacts: content-addressed outputs of stages, committed by a manifest, in a folder or in S3."""
