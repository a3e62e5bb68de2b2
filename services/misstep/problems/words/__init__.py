"""Word problems of two to four steps in plain English, within the reach of a small language model, and a teacher.

`generator` draws problems, `story` tells one, `teacher` solves it; `train` and `held_out` hold the stories.
"""
