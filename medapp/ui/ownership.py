"""Ownership: which file belongs to whom. A file is read only for callers that own it, wherever it lies.

A file's holders are visitors (a cookie), sessions (of clients without cookies), addresses (of callers without either,
such as curl) or the tools that are called from an address. An upload without a cookie belongs to its address until the
first session names it.
"""

import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from medapp.errors import InputError
from medapp.ui.caller import Caller

MAX_SESSIONS = 20_000  # whose caller is remembered; those used longest ago are forgotten
MAX_FILES = 20_000  # of one holder; the oldest are removed
UPLOAD_PREFIX = "upload "  # begins the name of an upload, which is treated as a session
NOT_YOURS_MESSAGE = "This file is not yours, or is no longer kept: upload it again."


class Holder(NamedTuple):
    """A visitor, session, address or tool that owns files."""

    kind: str  # "visitor", "session", "address" or "tools"
    name: str


class Ownership:
    """The holders of every file, and the first caller of every session. Its methods are thread-safe."""

    def __init__(self) -> None:
        """Start with neither files nor sessions."""
        self._holders: dict[str, set[Holder]] = {}
        self._held: dict[
            Holder, OrderedDict[str, set[str]]
        ] = {}  # their files, each with the sessions that have named it
        self._sessions: OrderedDict[str, Caller] = OrderedDict()
        self._public: set[str] = set()
        self._lock = threading.RLock()

    # ---- sessions
    def enter(self, session: str, caller: Caller) -> bool:
        """Whether the caller may act in a session; a new session becomes the caller's.

        A caller that came without a cookie may come with one later, from the same address.
        """
        with self._lock:
            first = self._sessions.get(session)
            if first is None or (first.cookie is None and caller.cookie and first.address == caller.address):
                self._sessions[session] = first = caller
            self._sessions.move_to_end(session)
            while len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
            return first.cookie == caller.cookie and (caller.cookie is not None or first.address == caller.address)

    def cookie(self, session: str) -> str | None:
        """Return the cookie of the session's first caller, or None."""
        with self._lock:
            first = self._sessions.get(session)
            return first.cookie if first else None

    def list_sessions(self, caller: Caller) -> list[str]:
        """Return the sessions of a caller with a cookie, those used longest ago first; none without one."""
        with self._lock:
            return [name for name, first in self._sessions.items() if caller.cookie and first.cookie == caller.cookie]

    # ---- files
    def give(self, path: str | Path, caller: Caller, session: str | None = None) -> None:
        """Make the caller a holder of this file."""
        holders = [_holder(caller, session)]
        if caller.fresh:  # the client may not keep the cookie that the answer brings
            holders.append(_holder(Caller(caller.address), session))
        for holder in holders:
            self._give(os.path.realpath(path), holder, session)

    def publish(self, paths: Iterable[str | Path]) -> None:
        """Let everybody read these files, which are the app's own and are never removed."""
        with self._lock:
            self._public.update(os.path.realpath(path) for path in paths)

    def check(self, path: str, caller: Caller, session: str | None = None) -> None:
        """Raise InputError unless the path is a regular file that the caller holds or that is public.

        A file that was uploaded without a cookie from the caller's address becomes this session's, if it is the first
        to name it.
        """
        try:
            is_regular, real = stat.S_ISREG(os.lstat(path).st_mode), os.path.realpath(path)
        except (OSError, ValueError):
            is_regular, real = False, ""
        if not is_regular:
            raise InputError(NOT_YOURS_MESSAGE)
        with self._lock:
            holders, own_holder = self._holders.get(real, set()), _holder(caller, session)
            address = Holder("address", caller.address)
            if own_holder not in holders and address in holders and own_holder.kind != "visitor":
                if own_holder.kind == "session":
                    self._take(real, address)
                self._give(real, own_holder, session)
            if own_holder in self._holders.get(real, set()):
                self._held[own_holder][real].update({session} if session else ())
            elif real not in self._public:
                raise InputError(NOT_YOURS_MESSAGE)

    def opens(self, path: str, caller: Caller) -> bool:
        """Whether the caller may fetch a file by its address.

        Its holder may, and callers without a cookie at the address of a holder without one. A file of a tool opens for
        everybody at the tool's address.
        """
        try:
            real = os.path.realpath(path)
        except ValueError:  # contains a NUL
            return False
        with self._lock:
            if real in self._public:
                return True
            for kind, name in self._holders.get(real, ()):
                first = self._sessions.get(name)
                is_near = name == caller.address and kind == "address"
                is_near |= kind == "session" and first is not None and first.address == caller.address
                if (
                    (kind == "visitor" and name == caller.cookie)
                    or (kind == "tools" and name == caller.address)
                    or (is_near and caller.cookie is None)
                ):
                    return True
            return False

    # ---- the end
    def leave(self, session: str) -> None:
        """End a session: its visitor loses the files that no other session of theirs has named.

        Files without any holder left are removed.
        """
        with self._lock:
            caller = self._sessions.pop(session, None)
            cookie = caller.cookie if caller else None
            others = (other for name, other in self._sessions.items() if not name.startswith(UPLOAD_PREFIX))
            elsewhere = cookie and any(other.cookie == cookie for other in others)
            for holder in (Holder("session", session), Holder("visitor", cookie or "")):
                for path, users in list(self._held.get(holder, {}).items()):
                    only = users == {session}
                    users.discard(session)
                    if not elsewhere or only or holder.kind == "session":
                        self._take(path, holder, remove=True)

    def forget_missing_files(self) -> None:
        """Forget files that no longer exist."""
        with self._lock:
            for path in [path for path in self._holders if not os.path.lexists(path)]:
                for holder in list(self._holders.get(path, ())):
                    self._take(path, holder)

    def _give(self, path: str, holder: Holder, session: str | None) -> None:
        with self._lock:
            if path in self._public:
                return
            self._holders.setdefault(path, set()).add(holder)
            held = self._held.setdefault(holder, OrderedDict())
            held.setdefault(path, set()).update({session} if session else ())
            while len(held) > MAX_FILES:
                self._take(next(iter(held)), holder, remove=True)

    def _take(self, path: str, holder: Holder, remove: bool = False) -> None:
        held, holders = self._held[holder], self._holders[path]
        del held[path]
        holders.discard(holder)
        if not held:
            del self._held[holder]
        if not holders:
            del self._holders[path]
            if remove and path not in self._public:
                _remove_file(path)


def upload_session(name: str) -> str:
    """Return the name under which the progress of an upload is a session, from the id that its sender gives it."""
    return f"{UPLOAD_PREFIX}{name}"


def _holder(caller: Caller, session: str | None) -> Holder:
    """Return the holder that a caller is in a session."""
    if caller.cookie:
        return Holder("visitor", caller.cookie)
    if caller.tool:
        return Holder("tools", caller.address)
    return Holder("session", session) if session else Holder("address", caller.address)


def _remove_file(path: str) -> None:
    """Remove a file, and its folder if that is empty then."""
    with suppress(OSError):
        os.remove(path)
        os.rmdir(os.path.dirname(path))


ownership = Ownership()


def find_values(data: Any, key: str = "path") -> Iterator[Any]:
    """Yield all values of a key, anywhere in nested lists and dictionaries."""
    if isinstance(data, dict):
        if key in data:
            yield data[key]
        for value in data.values():
            yield from find_values(value, key)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from find_values(value, key)
