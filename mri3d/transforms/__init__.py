"""MONAI transforms: a subject to the model grid and its maps back."""
