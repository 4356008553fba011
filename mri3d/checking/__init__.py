"""What is known of a data set's volumes before they are used, and what is wrong with them."""
