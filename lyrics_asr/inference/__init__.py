"""Songs through the models, one or many, on one device or several."""
