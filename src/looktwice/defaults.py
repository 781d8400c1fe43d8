"""The choices that are made where a user makes none. No torch here: the command line's help shows them."""

DEFAULT_MODEL = "efficientnet_lite0"
"""The network whose weights come with the package, so it works offline."""


DEFAULT_METHOD = "global_feedback"
