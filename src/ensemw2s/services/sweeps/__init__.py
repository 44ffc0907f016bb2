"""Every combination of some settings' values."""
