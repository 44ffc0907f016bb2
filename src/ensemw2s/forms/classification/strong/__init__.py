"""Who learns in classification: the strong model's students, their labels, and who else votes on those."""
