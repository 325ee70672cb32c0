"""What only training from scratch on synthetic songs uses: phone targets, frame targets, the filter bank."""
