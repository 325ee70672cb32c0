"""The networks: separator and acoustic model, their weights, and where these are found."""
