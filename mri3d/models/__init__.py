"""Networks: what a healthy brain looks like, of the input's shape, and which structure a voxel belongs to."""
