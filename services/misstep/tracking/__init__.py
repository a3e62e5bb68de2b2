"""An experiment's stages as runs of MLflow, Weights & Biases, Trackio and TensorBoard, each point exactly once."""
