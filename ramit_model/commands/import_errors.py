"""Failed imports that a user can do something about, in one line."""

import re

OURS = ("basicsr", "datasets_prep", "ramit_arch", "ramit_model")
OF_OPENCV = re.compile(r"lib(GL|EGL|xcb|X11|Xext|SM|ICE|glib|gthread)\b.*\.so")
"""System libraries that the wheels of opencv-python expect; servers and containers often lack them."""


def explain(error: ImportError) -> str | None:
    """Say what to do about a failed import; None if it is not the user's to mend."""
    if error.name == "basicsr":
        return f"{error}; pip install basicsr==1.4.2" if isinstance(error, ModuleNotFoundError) else str(error)
    missing = re.match(r"(\S+\.so\S*): cannot open shared object file", str(error))
    if missing and OF_OPENCV.match(missing[1]):
        return (
            f"OpenCV needs the system library {missing[1]}; on Debian and Ubuntu: "
            "apt-get install libgl1 libglib2.0-0 libxcb1. Or take the OpenCV that does without: "
            "pip uninstall -y opencv-python && pip install opencv-python-headless"
        )
    if missing:
        return f"the system library {missing[1]} is missing; install it with the system's package manager"
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] not in OURS:
        return f"{error}; install what this package requires: pip install . in its folder"
    return None
