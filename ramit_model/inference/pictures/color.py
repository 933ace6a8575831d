"""Pillow's modes converted to gray or RGB, with or without alpha; other color spaces to sRGB."""

import io
from typing import Any

from PIL import Image, ImageCms

from ramit_model.inference.pictures.picture import PictureError


def to_rgb_or_gray(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes | None, tuple[str, ...]]:
    """Convert any 8-bit mode to L, LA, RGB or RGBA.

    Args:
        image: Decoded image.
        icc: Its ICC profile.

    Returns:
        The image, the profile that it has now, and phrases about conversions.

    Raises:
        PictureError: The mode has more than 8 bits, or is unknown.
    """
    mode = image.mode
    if mode == "CMYK":
        return (*_cmyk_to_srgb(image, icc),)
    if mode == "LAB":
        return _transform(image, ImageCms.createProfile("LAB"), "LAB"), None, ("LAB converted to sRGB",)
    if mode in ("L", "LA", "RGB", "RGBA"):
        if "transparency" in image.info and mode in ("L", "RGB"):
            image = image.convert(f"{mode}A")
        return image, icc, ()
    if mode == "1":
        return image.convert("L"), icc, ()
    if mode == "La":
        return image.convert("LA"), icc, ()
    if mode in ("P", "PA", "RGBa"):
        return image.convert("RGBA" if mode != "P" or "transparency" in image.info else "RGB"), icc, ()
    if mode in ("RGBX", "YCbCr", "HSV"):
        return image.convert("RGB"), icc, ()
    raise PictureError(f"has pixels of an unusual kind ({mode}); save it as 8-bit or 16-bit PNG")


def _cmyk_to_srgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, None, tuple[str, ...]]:
    if icc:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            return _transform(image, profile, "CMYK"), None, ("CMYK converted through its profile to sRGB",)
        except (ImageCms.PyCMSError, OSError):
            note = "CMYK converted to sRGB without its profile, which cannot be used"
            return image.convert("RGB"), None, (note,)
    return image.convert("RGB"), None, ("CMYK without a profile converted to sRGB; colors may be off",)


def _transform(image: Image.Image, profile: Any, mode: str) -> Image.Image:
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:  # only a transform in place returns None
        raise PictureError(f"{mode} cannot be converted to sRGB")
    return converted
