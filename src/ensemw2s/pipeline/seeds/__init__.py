"""The work of one seed: experts, labels, students, and the choice among them."""
