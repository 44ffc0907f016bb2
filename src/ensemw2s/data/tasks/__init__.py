"""Tasks, one file each: its settings, its loader and its stand-in. `tables.TASKS` has their names."""
