"""Who supervises in classification: the weak models' experts, what they read, and what is made of several of them."""
