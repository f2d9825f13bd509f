"""The service: asks every server again and again, and takes those out of the upstreams that are not well."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from . import config as configuration
from . import connections, files, nginx, state
from .errors import BalancerError, LockedError, Refused, refused
from .health import Key, Record, Standing, changes, judged, records, standings, with_records
from .notify import Notifier
from .probe import fault, is_silent

TICK = 1.0  # seconds: how often files are looked at, and systemd hears of us, at least
AGAIN = 0.1  # seconds after which a server that has failed is asked again, so that one that is gone is out soon
GATHER = 0.05  # seconds in which servers that fail at once become one reload
SILENCE = 5.0  # seconds that a server takes no connection before what it has in hand is taken from it
MISSES = 2  # times that it was asked in them, at least: one may be lost on the way
RETRY = 30  # seconds after which what has failed is tried again, if nothing has changed before
GRACE = 2  # seconds in which what is under way may end after SIGTERM; the next start makes up for it otherwise

Result = TypeVar("Result")


def say(text: str) -> None:
    """Write a line to the journal."""
    print(text, flush=True)


@dataclass
class Silence:
    """How long a server has not been there.

    :param since: when it was asked last that it took the connection.
    :param misses: how often it has not since then.
    :param is_left: whether what it had in hand was given up.
    """

    since: float
    misses: int = 0
    is_left: bool = False


class Watch:
    """The loop. It alone writes which servers are unhealthy; who is drained it only reads."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._config: dict[str, Any] = configuration.EMPTY
        self._state = state.empty()
        self._versions: dict[str, files.Version | None] = {}
        self._records: dict[Key, Record] = {}
        self._told: dict[Key, Standing] = {}
        self._asking: dict[Key, asyncio.Task[None]] = {}
        self._answered: set[Key] = set()
        self._silences: dict[Key, Silence] = {}
        self._bringing: asyncio.Task[None] | None = None
        self._failed: tuple[object, float] = (None, 0)  # what could not be brought, and until when it is left alone
        self._is_ready = self._is_over = False

    async def run(self) -> None:
        """Watch until SIGTERM or SIGINT comes."""
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._end)
        due = self._loop.time()
        self._look()
        self._told = standings(self._config, self._state)
        for line in changes({}, self._told):
            say(line)
        while not self._is_over:
            self._wake.clear()
            self._look()
            due = min(due, self._loop.time() + self._config["interval"])  # it may be another one than before
            if self._loop.time() >= due:
                self._ask()
                # A round that is late leaves out those that it has missed.
                due = max(due + self._config["interval"], self._loop.time())
            self._bring()
            self._notify()
            pause = min(due - self._loop.time(), TICK)
            if not self._is_over:
                await self._woken(max(pause, 0))
        self._notifier.stopping()
        for task in self._asking.values():
            task.cancel()
        if self._bringing:
            await asyncio.wait([self._bringing], timeout=GRACE)

    def _end(self) -> None:
        self._is_over = True
        self._wake.set()

    async def _woken(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    # What others write

    def _look(self) -> None:
        """Read what others have changed. What is damaged is told once."""
        is_new_config = self._is_new("config", files.version_of(configuration.CONFIG))
        is_new_state = self._is_new("state", files.version_of(state.path()))
        if is_new_config:
            try:
                self._config = configuration.read() or configuration.EMPTY
            except (BalancerError, OSError) as error:
                then = "the one from before goes on" if self._config["sites"] else "nobody is asked until then"
                say(f"{_told(error)}; {then}")
        if is_new_state:
            try:
                self._state, warning = state.read()
                if warning:
                    say(f"warning: {warning}")
            except OSError as error:
                say(f"{_told(error)}; the one from before goes on")
        if is_new_config or is_new_state:
            self._records = records(self._config, self._state, self._records)
            self._answered &= set(self._records)

    def _is_new(self, name: str, version: files.Version | None) -> bool:
        """Whether a file is another one than at the last look."""
        if name in self._versions and self._versions[name] == version:
            return False
        self._versions[name] = version
        return True

    # Whether servers are well

    def _ask(self) -> None:
        """Begin a round. A server that still owes an answer is not asked again."""
        health = {site["name"]: site["health"] for site in self._config["sites"]}
        for key in self._records:
            if key not in self._asking:
                self._asking[key] = asyncio.create_task(self._ask_one(key, health[key.site]))

    async def _ask_one(self, key: Key, health: dict[str, Any]) -> None:
        """Ask a server, and one that fails again and again, until it is well or out."""
        try:
            while await self._fails(key, health):
                await asyncio.sleep(AGAIN)
        finally:
            del self._asking[key]

    async def _fails(self, key: Key, health: dict[str, Any]) -> bool:
        """Ask a server once. Whether it has failed, and not often enough to be out."""
        began = self._loop.time()
        found = await fault(key.address, health, self._config["timeout"], self._config["connect_timeout"])
        if key not in self._records:  # the configuration no longer has it
            return False
        before = self._records[key]
        after = self._records[key] = judged(before, found, self._config, state.now())
        is_first = key not in self._answered
        self._answered.add(key)
        if is_first or (before.mark is None) != (after.mark is None):
            self._loop.call_later(GATHER, self._wake.set)
        await self._leave(key, found, began)
        return bool(found) and after.mark is None

    async def _leave(self, key: Key, found: str, began: float) -> None:
        """Give up what a server has in hand that is out and stays silent: a host that has frozen keeps its connections
        open, and who waits at one would wait until the app's own timeout. One that takes connections is alive, whatever
        it answers."""
        if not is_silent(found):
            self._silences[key] = Silence(began)
            return
        silence, standing = self._silences.setdefault(key, Silence(began)), self._told.get(key)
        silence.misses += 1
        is_long = silence.misses >= MISSES and self._loop.time() - silence.since >= SILENCE
        if silence.is_left or not is_long or standing is None or standing.is_in:
            return
        silence.is_left = True
        count = await in_thread(lambda: connections.cut([key.address]))
        if count:
            say(f"{key.site}: {key.host} stays silent, connections to it that are given up: {count}")

    # What Nginx is told

    def _bring(self) -> None:
        """Begin to bring what has changed, unless something is under way or has just failed."""
        if self._bringing or not self._config["sites"]:
            return  # without a configuration, what is known stays as it is
        after = with_records(self._state, self._records)
        contents, recorded = nginx.wanted(self._config, after), state.serialised(after)
        attempt = (recorded, contents)
        try:
            if recorded == state.serialised(self._state) and nginx.is_brought(contents):
                self._tell(after)
                return
        except OSError:
            pass  # to bring it says what is wrong
        if self._failed[0] == attempt and self._loop.time() < self._failed[1]:
            return
        self._bringing = asyncio.create_task(self._bring_now(attempt))

    async def _bring_now(self, attempt: object) -> None:
        config, known = self._config, dict(self._records)
        try:
            after, problems = await in_thread(lambda: brought(config, known))
        except (BalancerError, OSError) as error:
            after, problems = None, [_told(error)]
        finally:
            self._bringing = None
            self._wake.set()
        for problem in problems:
            say(f"{problem}; tried again in {RETRY} s")
        self._failed = (attempt, self._loop.time() + RETRY) if problems else (None, 0)
        if after:
            self._tell(after, config)

    def _tell(self, after: dict[str, Any], config: dict[str, Any] | None = None) -> None:
        """Log who stands otherwise than before, now that Nginx knows."""
        found = standings(config or self._config, after)
        for line in changes(self._told, found):
            say(line)
        self._told = found

    def _notify(self) -> None:
        """Tell systemd how it goes."""
        out = sum(not standing.is_in for standing in self._told.values())
        self._notifier.status(f"{len(self._config['sites'])} sites, {len(self._told)} servers, {out} out")
        if not self._is_ready and self._answered >= set(self._records):
            self._is_ready = True
            self._notifier.ready()
        self._notifier.alive()


def brought(config: dict[str, Any], known: dict[Key, Record]) -> tuple[dict[str, Any] | None, list[str]]:
    """Record who is unhealthy, and bring it to Nginx.

    A state that cannot be recorded, on a full disk, does not keep servers in that are not well.

    :returns: the state that Nginx has now, None if it goes on as before, or a part of it; and what went wrong.
    :raises LockedError: somebody else is at work, for long.
    """
    problems = []
    with state.locked():
        after = with_records(state.read()[0], known)
        try:
            state.write(after)
        except OSError as error:
            problems.append(_told(error))
        try:
            done = nginx.bring(nginx.wanted(config, after))
        except (BalancerError, OSError) as error:
            return None, [*problems, _told(error)]
    return None if done.is_pending else after, [*problems, *done.warnings]


async def in_thread(work: Callable[[], Result]) -> Result:
    """What a function returns, called in a thread that does not keep the program from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(method: Callable[[Any], None], value: object) -> None:
        if not future.done():
            method(value)

    def body() -> None:
        try:
            outcome = (future.set_result, work())
        except BaseException as error:
            outcome = (future.set_exception, error)
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=body, daemon=True).start()
    return await future


def _told(error: BalancerError | OSError) -> str:
    """A failure in one line."""
    return error.message if isinstance(error, BalancerError) else refused(error).message


def watch() -> None:
    """Watch until a signal comes.

    :raises Refused: another process watches already.
    """
    try:
        with files.held(state.STATE / "watch.lock", 0):
            asyncio.run(Watch(Notifier()).run())
    except LockedError as error:
        hint = "look at it: systemctl status djangofleet-balancer"
        raise Refused("another djangofleet-balancer watches already", hint) from error
