"""Credit by itself: any file of problems and responses, credited with any model, without an Experiment."""
