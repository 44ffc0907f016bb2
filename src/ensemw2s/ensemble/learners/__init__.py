"""What can learn a task by class: a head on a model, a scikit-learn classifier, a learner of your own."""
