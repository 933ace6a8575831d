"""`python -m ramit_model` is the `basicsr` command."""

from ramit_model.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
