"""One training loop for experts, students and ceilings alike."""
