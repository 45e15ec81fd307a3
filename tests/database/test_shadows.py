"""Objects of others that bear the names of PostgreSQL's own: nothing of the product ever runs them."""
