"""Ownership: which file on the page is whose. What nobody has been given, nobody can have read.

A file has holders: a visitor (a cookie), a session (of a client without cookies), an address (of who has neither a
cookie nor a session, such as curl) or the tools that are called from an address. An upload without a cookie is held by
its address until the first session names it.
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

MAX_SESSIONS = 20_000  # sessions whose caller is remembered, those used last
MAX_FILES = 20_000  # files that one holder has; the oldest go for more
UPLOAD_PREFIX = "upload "  # begins the name under which an upload is known, which is no session
NOT_YOURS_MESSAGE = "This file is not yours, or is no longer kept: upload it again."


class Holder(NamedTuple):
    kind: str  # "visitor", "session", "address" or "tools"
    name: str


class Ownership:
    """Who holds which files, and who began which session. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._holders: dict[str, set[Holder]] = {}
        self._held: dict[Holder, OrderedDict[str, set[str]]] = {}  # files, with the sessions in which they were named
        self._sessions: OrderedDict[str, Caller] = OrderedDict()
        self._everybodys: set[str] = set()
        self._lock = threading.RLock()

    # ---- sessions
    def enter(self, session: str, caller: Caller) -> bool:
        """Whether the caller may act in a session: who names it first, or the same again.

        Who came without a cookie may come with one later, from the same address.
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
        """Of who began the session."""
        with self._lock:
            first = self._sessions.get(session)
            return first.cookie if first else None

    # ---- files
    def give(self, path: str | Path, caller: Caller, session: str | None = None) -> None:
        """From now on the caller has this file."""
        holders = [_holder(caller, session)]
        if caller.fresh:  # who may not come back with the cookie that the answer brings
            holders.append(_holder(Caller(caller.address), session))
        for holder in holders:
            self._give(os.path.realpath(path), holder, session)

    def publish(self, paths: Iterable[str | Path]) -> None:
        """Files of the page itself, which everybody may have, nobody holds, and nobody takes along."""
        with self._lock:
            self._everybodys.update(os.path.realpath(path) for path in paths)

    def check(self, path: str, caller: Caller, session: str | None = None) -> None:
        """Raises InputError if the path is no regular file that the caller was given; otherwise it is used from now on.

        What was uploaded from the caller's address without a cookie becomes the session's that names it first.
        """
        try:
            regular, real = stat.S_ISREG(os.lstat(path).st_mode), os.path.realpath(path)
        except (OSError, ValueError):
            regular, real = False, ""
        if not regular:
            raise InputError(NOT_YOURS_MESSAGE)
        with self._lock:
            holders, mine = self._holders.get(real, set()), _holder(caller, session)
            address = Holder("address", caller.address)
            if mine not in holders and address in holders and mine.kind != "visitor":
                if mine.kind == "session":
                    self._take(real, address)
                self._give(real, mine, session)
            if mine in self._holders.get(real, set()):
                self._held[mine][real].update({session} if session else ())
            elif real not in self._everybodys:
                raise InputError(NOT_YOURS_MESSAGE)

    def opens(self, path: str, caller: Caller) -> bool:
        """Whether the caller may look at a file of the page's: its holder may, or who shares the address of one without
        a cookie. What a tool has handed out is a link for everybody at its caller's address."""
        try:
            real = os.path.realpath(path)
        except ValueError:  # a NUL in it
            return False
        with self._lock:
            if real in self._everybodys:
                return True
            for kind, name in self._holders.get(real, ()):
                first = self._sessions.get(name)
                near = name == caller.address and kind == "address"
                near |= kind == "session" and first is not None and first.address == caller.address
                if (
                    (kind == "visitor" and name == caller.cookie)
                    or (kind == "tools" and name == caller.address)
                    or (near and caller.cookie is None)
                ):
                    return True
            return False

    # ---- the end
    def leave(self, session: str) -> None:
        """What its visitor has in no other session is theirs no more, and is removed unless somebody else has it."""
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
            if path in self._everybodys:
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
            if remove and path not in self._everybodys:
                _remove_file(path)


def upload_session(name: str) -> str:
    """As what an upload is entered whose progress is asked for, by the name that its sender gives it."""
    return f"{UPLOAD_PREFIX}{name}"


def _holder(caller: Caller, session: str | None) -> Holder:
    """As whom a caller holds what is given to them in a session."""
    if caller.cookie:
        return Holder("visitor", caller.cookie)
    if caller.tool:
        return Holder("tools", caller.address)
    return Holder("session", session) if session else Holder("address", caller.address)


def _remove_file(path: str) -> None:
    """Remove a file and the folder that it lay in alone."""
    with suppress(OSError):
        os.remove(path)
        os.rmdir(os.path.dirname(path))


ownership = Ownership()


def find_values(data: Any, key: str = "path") -> Iterator[Any]:
    """Everything that stands under the key, anywhere in data of lists and dictionaries."""
    if isinstance(data, dict):
        if key in data:
            yield data[key]
        for value in data.values():
            yield from find_values(value, key)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from find_values(value, key)
