"""The verbs of the `basicsr` command."""
