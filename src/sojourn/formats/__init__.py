"""Other programs' session data, imported: one module for each program."""
