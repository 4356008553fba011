"""What each of the commands does, callable from Python as well."""
