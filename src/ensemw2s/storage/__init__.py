"""Files and folders: whole or not at all, locked, checked by what they must hold."""
