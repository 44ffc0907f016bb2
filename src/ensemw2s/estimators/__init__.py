"""The Python API: ensembles, students and classifiers with scikit-learn's habits."""
