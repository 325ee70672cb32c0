"""The neural networks: separator, acoustic model and voice activity detection; loading, saving and downloading."""
