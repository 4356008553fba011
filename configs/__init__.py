"""The recipes: MONAI configs that bundles are built from."""
