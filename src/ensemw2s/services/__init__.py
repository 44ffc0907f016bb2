"""What users do before and after a run; none of these packages imports another."""
