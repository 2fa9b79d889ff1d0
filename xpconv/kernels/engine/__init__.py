"""What runs the kernels for NumPy arrays: threads, memory, and plans of the calls that a kernel made."""
