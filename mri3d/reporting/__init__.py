"""What people look at; one kind of output a module."""
