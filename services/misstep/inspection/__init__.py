"""What a model folder holds, checked before anything is trained."""
