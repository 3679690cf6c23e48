"""The errors whose words the user reads: one clear sentence each, never a traceback."""


class UserError(Exception):
    """Something that the user can understand and mend; the page and the command line show its text and nothing else."""


class InputError(UserError):
    """The upload cannot be taken, and the text says why."""


class OptionError(UserError):
    """An option has no such name or no such value."""


class WeightsError(UserError):
    """The weights are nowhere to be had, neither here nor from the Hub, or they are not what the card says."""


class CancelledError(UserError):
    """The user pressed Cancel."""
