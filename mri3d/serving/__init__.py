"""The HTTP service: a volume in, a job, its maps out."""
