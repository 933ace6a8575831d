"""Running a network on images: padding, tiles, measuring results."""
