"""The published claim, step by step: from the authors' accounting to ours on the same trained learners."""
