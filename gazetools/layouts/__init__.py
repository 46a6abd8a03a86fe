"""How a packed video lies on the disk: .npz, .npy folder and .h5, read and written."""
