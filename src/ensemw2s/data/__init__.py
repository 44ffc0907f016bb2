"""Tasks, read and validated, and their split with the seal on hard labels."""
