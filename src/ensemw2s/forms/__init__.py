"""What a task's answers are: classes, or generated text."""
