"""Logins: one device of one user, account-only or in one character, looked up on every request."""
