"""Ask people for labels, and take their answers back."""
