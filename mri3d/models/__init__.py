"""Networks whose forward gives one tensor of the input's shape."""
