"""The kernels for a CPU: C++, and its binding."""
