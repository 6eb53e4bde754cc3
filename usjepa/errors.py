"""The one exception that a user's input can raise."""


class InputError(ValueError):
    """Something that was given can't be used.

    The message names the file or field first, then what was expected, what came, and what to do.
    The command line prints it without a traceback.
    """
