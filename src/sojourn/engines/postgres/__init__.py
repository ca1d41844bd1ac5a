"""Sessions in PostgreSQL 14 or newer: any number of processes and machines may share a store."""
