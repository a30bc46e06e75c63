"""Sweeps: what `wherry sweep` begins, drives and looks after.

A sweep is a folder of documents in an object store (`run/sweep_state.py`), and nothing else: this machine only remembers where.
Whoever can reach the store can look at the sweep, and whoever can reach its backend, too, can carry it on.
"""

from __future__ import annotations

import getpass
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from wherry.errors import JobError, UsageError, WherryError
from wherry.model.job import BackendKind, Target
from wherry.model.sweep import Round, Sweep, SweepSpec
from wherry.preparation import OpenProject, prepare_environment, prepare_image
from wherry.run.backends.local import LocalBackend
from wherry.run.backends.ray import RayBackend
from wherry.run.backends.slurm import SlurmBackend
from wherry.run.port import Capacity, SweepBackend
from wherry.run.provenance import read_provenance
from wherry.run.sweep_driver import Look, Post, SweepDriver
from wherry.run.sweep_state import SweepState, list_sweeps, list_tags
from wherry.run.sweep_status import StatusReader, SweepStatus
from wherry.run.sweep_watch import StopSign
from wherry.store.host import read_host_name
from wherry.store.objects import ObjectStore
from wherry.store.objects_open import open_objects
from wherry.store.places import sweeps_path
from wherry.store.posix import explain_os_errors, write_atomically

Say = Callable[[str], None]
_SKEW = 600.0  # seconds that two machines' clocks may differ


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepWish:
    """A sweep to be begun, in the project at `root`, on a target. `state` is the object store's address."""

    root: Path
    sweep: Sweep
    target: Target
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """What a sweep would be, before it is anything: how it is spread, how long it takes and what it costs at most."""

    tasks: int
    capacity: Capacity
    seconds: float | None
    cost: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """Something of a round that stood, and why it should not."""

    id: str
    round: str
    why: str


class Sweeps:
    """The sweeps that this machine knows of. `env` says where that is kept, and what stores and backends need to be reached."""

    def __init__(self, env: Mapping[str, str], say: Say = lambda _text: None) -> None:
        self.place = sweeps_path(env)
        self._env = env
        self._say = say

    def default_state(self) -> str:
        """The store of sweeps that name none: a folder on this machine."""
        return (self.place / "state").as_uri()

    def plan(self, wish: SweepWish) -> SweepPlan:
        """What it would be, without making anything."""
        spec = self._describe(wish)
        capacity = self.open_backend(spec, self._open(wish.state)).measure(spec)
        most = wish.sweep.limits.seconds
        seconds = None if most is None else -(-len(spec) // (capacity.slots * capacity.workers)) * most
        price = spec.sweep.price
        cost = seconds / 3600 * capacity.workers * price if seconds is not None and price is not None else None
        bound = wish.sweep.max_cost
        return SweepPlan(
            tasks=len(spec), capacity=capacity, seconds=seconds, cost=cost if bound is None else min(bound, cost or bound)
        )

    def begin(self, wish: SweepWish, open_project: OpenProject) -> SweepState:
        """Make ready what tasks run in, and write the sweep down. No task runs yet."""
        spec = self._prepare(self._describe(wish), wish.root, open_project)
        state = SweepState(self._open(wish.state), spec.id)
        if not state.create(spec):
            raise JobError(f"there is a sweep {spec.id} already", where=wish.state)
        self._remember(spec.id, state.store.url)
        return state

    def _prepare(self, spec: SweepSpec, root: Path, open_project: OpenProject) -> SweepSpec:
        """The spec with what tasks run in, which is made if it has to be: the environment, or the image."""
        if spec.azure is not None:
            from wherry.sweep_image import prepare_pull

            return prepare_pull(spec, spec.azure.image, self._env, open_project, self._say)
        if spec.backend == BackendKind.CONTAINER.value or spec.engine is not None:
            _, _, image, lock = prepare_image(root, self._env, open_project)
            return replace(spec, image=str(image.image_id), lock=lock)
        prefix, record = prepare_environment(root, self._env, open_project)
        variables = dict(record.variables)
        return replace(spec, prefix=str(prefix), variables=variables, conda=record.conda, lock=record.lock, python=record.python)

    def drive(
        self, state: SweepState, look: Look, stop: StopSign, keep: float | None = None, max_cost: float | None = None
    ) -> SweepStatus:
        """Carry a sweep on to its end. `keep`: leave what it was given standing for so many seconds from now.

        `max_cost`: what all of it may cost, in place of what was said when it was begun.
        """
        spec = state.read_spec()
        if max_cost is not None:
            _refuse_bound(spec.sweep.price)
            spec = replace(spec, sweep=replace(spec.sweep, max_cost=max_cost))
        state.resume()
        return SweepDriver(
            state,
            spec,
            self.open_backend(spec, state.store),
            self._post(time.time() + keep if keep else None),
            stop,
            self._say,
            look,
        ).drive()

    def find(self, text: str | None, state: str | None = None) -> SweepState:
        """The sweep whose ID is `text` or alone begins so; None: the one that this machine began last."""
        known = self._list_known() if state is None else dict.fromkeys(list_sweeps(self._open(state)), state)
        names = [name for name in known if text is None or name.startswith(text)]
        if text is None and names:
            names = names[-1:]
        if text in known:
            names = [str(text)]
        if not names:
            what = f"no sweep {text}" if text else "no sweep was begun on this machine"
            raise UsageError(what, hint="wherry sweep ls, or --state ADDRESS")
        if len(names) > 1:
            raise UsageError(f"{text} is the beginning of {len(names)} sweeps: {', '.join(sorted(names)[:5])}", hint="more of it")
        return SweepState(self._open(known[names[0]]), names[0])

    def list(self, state: str | None) -> tuple[tuple[str, str], ...]:
        """IDs and addresses: of the sweeps of a store, or of those begun here, the youngest first."""
        if state is not None:
            return tuple((name, state) for name in list_sweeps(self._open(state)))
        return tuple(reversed(self._list_known().items()))

    def open_reader(self, state: SweepState) -> StatusReader:
        """What reads how far a sweep is, again and again."""
        spec = state.read_spec()
        return StatusReader(state, spec, 3 * spec.beat)

    def cancel(self, state: SweepState) -> None:
        """Have all workers end, wherever they are; what is asked of a backend is given back by the driver, or by `gc`."""
        state.cancel()

    def collect(self, text: str | None, state: str | None, *, dry_run: bool) -> tuple[Removed, ...]:
        """The third net: what stands of sweeps that are over or past their deadline, or is nobody's; all of the sweep `text`.

        Tags say where to look, and backends what is there, whoever made it and however that one ended.
        """
        named = self.find(text, state) if text is not None else None
        states = {named.store.url: named.store} if named else self._list_stores(state)
        rounds = [(made, SweepState(store, made.sweep)) for store in states.values() for made in self._list_tags(store)]
        if named is not None:
            rounds = [(made, of) for made, of in rounds if made.sweep == named.id]
        if named is not None and rounds and not dry_run:
            named.cancel()  # its driver, if there is one, would ask for other workers
        found: list[Removed] = []
        for made, of in rounds:
            try:
                found += self._collect_round(made, of, "it was named" if named else self._tell_orphan(made, of), dry_run)
            except WherryError as error:
                if named is not None:
                    raise
                self._say(f"what stands of {made.sweep}.{made.id} is not known: {error}")
        return (*found, *(self._collect_untagged({f"{made.sweep}.{made.id}" for made, _ in rounds}, dry_run) if not named else ()))

    def _collect_round(self, made: Round, of: SweepState, why: str | None, dry_run: bool) -> tuple[Removed, ...]:
        """What stands of a round that is to go; nothing of one that may be needed, for which there is no `why`."""
        if why is None:
            return ()
        backend, name = self.open_backend(of.read_spec(), of.store), f"{made.sweep}.{made.id}"
        found = [resource for resource in backend.list_resources() if resource.round == name]
        if not dry_run:
            for resource in found:
                backend.release(resource)
            of.close_round(made)
        return tuple(Removed(id=resource.id, round=name, why=why) for resource in found)

    def _list_tags(self, store: ObjectStore) -> tuple[Round, ...]:
        """Rounds that may stand; a store that cannot be read hides no other one's."""
        try:
            return list_tags(store)
        except WherryError as error:
            self._say(f"what stands of the sweeps there is not known: {error}")
            return ()

    def _tell_orphan(self, made: Round, state: SweepState) -> str | None:
        """Why a round's things should be gone; None where they may be needed."""
        if time.time() > made.expires + _SKEW:
            return "its deadline is over"
        if state.is_cancelled():
            return "the sweep is cancelled"
        return "the sweep is done" if sum(1 for _ in state.list_done()) == len(state.read_spec()) else None

    def _collect_untagged(self, tagged: set[str], dry_run: bool) -> Iterator[Removed]:
        """Workers on this machine that no tag of a store that we know speaks of: their round was closed."""
        backend = LocalBackend(self._env)
        for resource in backend.list_resources():
            if resource.round not in tagged and resource.round.partition(".")[0] in self._list_known():
                if not dry_run:
                    backend.release(resource)
                yield Removed(id=resource.id, round=resource.round, why="its round was closed")

    def _list_stores(self, state: str | None) -> dict[str, ObjectStore]:
        addresses = {state} if state is not None else set(self._list_known().values())
        return {address: self._open(address) for address in sorted(addresses)}

    def open_backend(self, spec: SweepSpec, store: ObjectStore) -> SweepBackend:
        """Where the sweep's workers are. `store` has its state."""
        if BackendKind(spec.backend) is BackendKind.SLURM:
            return SlurmBackend(self._env, spec.engine_args, self._say)
        if BackendKind(spec.backend) is BackendKind.RAY:
            return RayBackend(self._env, spec.address)
        if BackendKind(spec.backend) is BackendKind.AZURE_BATCH:
            return _open_azure_batch(spec, store, self._env, self._say)
        return LocalBackend(self._env)

    def _describe(self, wish: SweepWish) -> SweepSpec:
        provenance = read_provenance(wish.root, self._env)
        price = wish.sweep.price or (wish.target.azure.price if wish.target.azure else None)
        if wish.sweep.max_cost is not None:
            _refuse_bound(price)
        return SweepSpec(
            id=f"{wish.sweep.name}-{os.urandom(3).hex()}",
            sweep=replace(
                wish.sweep,
                limits=wish.target.limits.narrowed_by(wish.sweep.limits),
                env=tuple({**dict(wish.target.env), **dict(wish.sweep.env)}.items()),
                price=price,
            ),
            target=wish.target.name,
            backend=wish.target.backend.value,
            engine=wish.target.engine,
            network=wish.target.network,
            engine_args=wish.target.engine_args,
            address=wish.target.address,
            azure=wish.target.azure,
            root=str(wish.root),
            commit=provenance.commit,
            dirty=provenance.dirty,
            owner=self._owner(),
            created=time.time(),
        )

    def _post(self, keep: float | None) -> Post:
        return Post(
            owner=self._owner(),
            host=read_host_name(),
            folder=self.place,
            command=(sys.executable, "-m", "wherry.sweep_worker"),
            env={},
            keep=keep,
        )

    def _open(self, address: str) -> ObjectStore:
        return open_objects(address, self._env, self._say)

    def _owner(self) -> str:
        try:
            return f"{getpass.getuser()}@{read_host_name()}"
        except (KeyError, OSError):
            return read_host_name()

    def _remember(self, sweep: str, address: str) -> None:
        place = self.place / f"{sweep}.address"
        with explain_os_errors(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(place, address.encode())

    def _list_known(self) -> dict[str, str]:
        """Addresses of the sweeps that were begun here, the oldest first."""
        places = sorted(self.place.glob("*.address"), key=lambda place: place.stat().st_mtime_ns)
        return {place.stem: place.read_text() for place in places}


def _refuse_bound(price: float | None) -> None:
    """No cost can be bounded where there is no price."""
    if price is None:
        raise UsageError("max-cost cannot be kept to: nobody knows what an hour costs", hint="price-per-hour in wherry.toml")


def _open_azure_batch(spec: SweepSpec, store: ObjectStore, env: Mapping[str, str], say: Say) -> SweepBackend:
    """With Azure's own libraries, which are an extra."""
    try:
        from wherry.run.backends.azure_batch import AzureBatchBackend
    except ImportError as error:
        raise UsageError("Azure Batch is reached by Azure's own libraries", hint="pip install 'wherry[azure-batch]'") from error
    return AzureBatchBackend(spec, store, env, say)
