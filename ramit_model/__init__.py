"""Everything that runs a network: BasicSR models, data sets, option files, the `basicsr` command.

Importing this package is cheap; `register()` imports torch and BasicSR.
"""

from ramit_model.basicsr_bridge import install, register

install()

__all__ = ["register"]
