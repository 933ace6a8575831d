"""Everything that runs a network: BasicSR models, data sets, option files, launch, the `basicsr` command.

Importing this package is cheap; `register()` brings in torch and BasicSR.
"""


def register() -> None:
    """Enter our networks, models and data sets into BasicSR's registries. May be called again.

    Call it at the top of a script of your own, outside `if __name__ == "__main__"`: DataLoader workers import it anew.
    """
    import ramit_arch  # noqa: F401

    import ramit_model.data.clean
    import ramit_model.data.paired
    import ramit_model.training.restoration_model  # noqa: F401
