"""What can go wrong, sorted by who is to blame. The message says what to do next."""

from __future__ import annotations


class SidecarError(Exception):
    """Base of every error that is raised on purpose; the message is one line for a person."""


class RowFault(SidecarError):
    """The row's own content is at fault; it is charged to that row and to no other.

    `code` is one of the fixed set that `sidecar.failure.error` holds. `permanent` says that the
    same content can only fail again, so that the row goes to `sidecar.failure` at once instead of
    backing off first.
    """

    def __init__(self, code: str, message: str, *, permanent: bool = True) -> None:
        super().__init__(message)
        self.code = code
        self.permanent = permanent


class HostFault(SidecarError):
    """Whoever holds the row's content cannot give it now; charged to nobody, the row waits.

    `seconds` is for how long: what the host asked for, or a guess.
    """

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class ServiceFault(SidecarError):
    """The service is at fault (database gone, CUDA out of memory, model missing); charged to no
    row."""


class Busy(ServiceFault):
    """More is asked than there is room for; ask again after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SettingsError(SidecarError):
    """The environment or the call holds mistakes; the message lists all of them."""
