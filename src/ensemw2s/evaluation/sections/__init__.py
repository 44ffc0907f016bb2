"""What results hold beside the table."""
