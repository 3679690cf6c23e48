"""Errors whose text is shown to the user: one clear sentence each, never a traceback."""


class UserError(Exception):
    """A problem that the user can understand and fix; the page and the command line show its text and nothing else."""


class InputError(UserError):
    """The upload cannot be used; the text says why and what to do."""


class OptionError(UserError):
    """No option has this name, or the option does not take this value."""


class WeightsError(UserError):
    """The weights are neither on this machine nor on the Hub, or they are not those that the card names."""


class CancelledError(UserError):
    """The user cancelled the run."""
