"""The CustomResourceDefinition of an Experiment, generated from the types of the spec."""
