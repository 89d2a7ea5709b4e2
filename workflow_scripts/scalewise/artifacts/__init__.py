"""Reading and writing every kind of file; one module per kind, so that code keys stay narrow."""
