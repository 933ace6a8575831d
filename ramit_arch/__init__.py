"""RAMiT's networks for BasicSR: importing this package registers all of them."""

from ramit_arch import compat

compat.mend()

from ramit_arch.ngswin_arch import NGswin  # noqa: E402  BasicSR imports once it is mended
from ramit_arch.ramit_arch import RAMiT  # noqa: E402  BasicSR imports once it is mended
from ramit_arch.settings import RAMiTSettings, ramit_settings  # noqa: E402

__all__ = ["NGswin", "RAMiT", "RAMiTSettings", "ramit_settings"]
