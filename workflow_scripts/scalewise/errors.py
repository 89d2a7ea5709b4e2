"""Errors that are the user's to mend."""


class UserError(Exception):
    """Something that the user can mend; the message names file or key and says what to do."""
