"""Files in, files out: discovery, the NIfTI gate, source-faithful writing, brain extraction, alignment."""
