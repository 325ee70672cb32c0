"""The web application: HTTP -> the same requests and runner as the command line."""
