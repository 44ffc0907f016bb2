"""A finished run in an experiment tracker."""
