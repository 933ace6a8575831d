"""RAMiT and NGswin: plain PyTorch modules, and known to BasicSR's registries as soon as BasicSR is imported."""

# The only word about BasicSR in this package. It costs nothing, and BasicSR need not be installed.
from ramit_arch.ngswin_arch import NGswin
from ramit_arch.ramit_arch import RAMiT
from ramit_arch.settings import RAMiTSettings, ramit_settings
from ramit_model.basicsr_bridge import install

install()

__all__ = ["NGswin", "RAMiT", "RAMiTSettings", "ramit_settings"]
