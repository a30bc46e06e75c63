"""What a simulated Azure Batch account has: pools, nodes, jobs and tasks with their states, and what can go wrong with them."""

from __future__ import annotations

import itertools
import shutil
import threading
import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulators.azure_batch_nodes import TICK, Document, Node, Runner, Running, StartContainer, now, seconds_of


@dataclass
class Behaviour:
    """Switches, to be turned at any time."""

    cores: int = 1000  # how many machines the account may have, of each kind
    pools: int = 100
    never_allocates: bool = False
    failures: list[int] = field(default_factory=list)  # statuses that the next requests get instead of an answer
    images: tuple[str, ...] = ("ubuntu-hpc", "0001-com-ubuntu-server-jammy")  # offers; the first runs containers


class Refusal(Exception):
    """What a request is answered with."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message or code


class BatchAccount:
    """The account. `folder` holds the nodes' disks; `start_container` starts tasks that ask for a container."""

    def __init__(
        self, folder: Path, start_container: StartContainer | None = None, variables: dict[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.behaviour = Behaviour()
        self.pools: dict[str, Document] = {}
        self.jobs: dict[str, Document] = {}
        self.tasks: dict[str, dict[str, Document]] = {}
        self.nodes: dict[str, dict[str, Node]] = {}
        self.seen: list[str] = []  # "POST /pools", in order
        self.asked: list[bytes] = []  # the bodies that came with them
        self.lock = threading.RLock()
        self.runner = Runner(start_container, variables or {"PATH": "/usr/local/bin:/usr/bin:/bin"})
        self._names = itertools.count(1)
        self._ended = threading.Event()
        self._manager = threading.Thread(target=self._manage, daemon=True)

    def start(self) -> None:
        self._manager.start()

    def stop(self) -> None:
        self._ended.set()
        for nodes in self.nodes.values():
            for node in nodes.values():
                node.leave("node left")
        self._manager.join(20)

    def preempt(self, pool: str) -> None:
        """Take a running low-priority node away, as Azure does when it needs the machine."""
        with self.lock:
            node = next(node for node in self.nodes[pool].values() if not node.dedicated and node.running)
            node.state = "preempted"
            node.leave("preempted")

    # -- what happens by itself

    def _manage(self) -> None:
        while not self._ended.wait(TICK):
            with self.lock:
                for pool in list(self.pools.values()):
                    self._allocate(pool)
                for job in list(self.jobs.values()):
                    self._look_after(job)

    def _allocate(self, pool: Document) -> None:
        nodes = self.nodes[pool["id"]]
        if pool["state"] == "deleting":
            for node in nodes.values():
                node.leave("node left")
            if not any(node.running for node in nodes.values()):
                del self.pools[pool["id"]], self.nodes[pool["id"]]
                shutil.rmtree(self.folder / pool["id"], ignore_errors=True)
            return
        for kind, dedicated in (("Dedicated", True), ("LowPriority", False)):
            have = [node for node in nodes.values() if node.dedicated is dedicated]
            wanted = pool.get(f"target{kind}Nodes", 0)
            taken = sum(node.dedicated is dedicated for each in self.nodes.values() for node in each.values())
            if len(have) < wanted and taken >= self.behaviour.cores:
                code = "AccountCoreQuotaReached" if dedicated else "AccountLowPriorityCoreQuotaReached"
                pool["resizeErrors"] = [{"code": code, "message": "The specified account has reached core quota", "values": []}]
                pool["allocationState"] = "steady"
            elif len(have) < wanted and not self.behaviour.never_allocates:
                self._add_node(pool, dedicated)
            elif len(have) > wanted:
                have[-1].leave("node left")
                del nodes[have[-1].id]
            pool[f"current{kind}Nodes"] = sum(node.dedicated is dedicated for node in nodes.values())
        if len(nodes) == pool.get("targetDedicatedNodes", 0) + pool.get("targetLowPriorityNodes", 0):
            pool["allocationState"] = "steady"

    def _add_node(self, pool: Document, dedicated: bool) -> None:
        name = f"tvm-{next(self._names)}"
        node = Node(id=name, pool=pool["id"], dedicated=dedicated, folder=self.folder / pool["id"] / name)
        node.folder.mkdir(parents=True)
        self.nodes[pool["id"]][name] = node
        threading.Thread(target=self._start, args=(pool, node), daemon=True).start()

    def _start(self, pool: Document, node: Node) -> None:
        if start := pool.get("startTask"):
            node.state = "waitingforstarttask"
            info = self.runner.run(node, ("startup", "startup"), start, (), 0)
            info.pop("ended_by")
            node.start_info = {"state": "completed", "retryCount": 0, **info}
            if info["exitCode"] and start.get("waitForSuccess"):
                node.state = "starttaskfailed"
                return
        if node.state != "preempted":
            node.state = "idle"
        slots = pool.get("maxTasksPerNode") or pool.get("taskSlotsPerNode") or 1
        for _ in range(slots):
            threading.Thread(target=self._work, args=(node,), daemon=True).start()

    def _work(self, node: Node) -> None:
        """One slot of a node."""
        while not self._ended.is_set() and node.id in self.nodes.get(node.pool, {}) and node.state != "preempted":
            found = self._take(node)
            if found is None:
                time.sleep(TICK)
                continue
            job, task = found
            info = self.runner.run(
                node, (job["id"], task["id"]), task, job.get("commonEnvironmentSettings", ()), task["executionInfo"]["retryCount"]
            )
            with self.lock:
                node.total += 1
                self._settle(node, task, info)

    def _take(self, node: Node) -> tuple[Document, Document] | None:
        with self.lock:
            for job in self.jobs.values():
                if job["state"] != "active" or job["executionInfo"].get("poolId") != node.pool:
                    continue
                for task in self.tasks[job["id"]].values():
                    if task["state"] == "active":
                        _turn(task, "running")
                        task["nodeInfo"] = {"nodeId": node.id, "poolId": node.pool}
                        node.state = "running"
                        return job, task
        return None

    def _settle(self, node: Node, task: Document, info: Document) -> None:
        why = info.pop("ended_by")
        if not node.running and node.state == "running":
            node.state = "idle"
        if task["state"] == "completed":
            return  # terminated from outside
        counts = task["executionInfo"]
        if why in ("preempted", "node left"):
            counts["requeueCount"] += 1
            _turn(task, "active")
        elif info["exitCode"] and counts["retryCount"] < task.get("constraints", {}).get("maxTaskRetryCount", 0):
            counts |= {"retryCount": counts["retryCount"] + 1, "lastRetryTime": now()}
            _turn(task, "active")
        else:
            counts |= info
            _turn(task, "completed")

    def _look_after(self, job: Document) -> None:
        tasks = self.tasks[job["id"]].values()
        limit = seconds_of(job.get("constraints", {}).get("maxWallClockTime"))
        if job["state"] == "active" and limit is not None and time.monotonic() - job["_begun"] > limit:
            self.finish_job(job, "MaxWallClockTimeExpiry")
        if job["state"] == "deleting" and not any(self.find_running(job["id"], task["id"]) for task in tasks):
            del self.jobs[job["id"]], self.tasks[job["id"]]
        elif job["state"] == "active" and job.get("onAllTasksComplete") == "terminatejob" and _are_done(tasks):
            self.finish_job(job, "AllTasksComplete")

    # -- what requests change

    def add_pool(self, body: Document) -> None:
        if body["id"] in self.pools:
            raise Refusal(409, "PoolExists", "The specified pool already exists.")
        if len(self.pools) >= self.behaviour.pools:
            raise Refusal(409, "PoolQuotaReached", "The account has reached its quota of pools.")
        nodes = {"currentDedicatedNodes": 0, "currentLowPriorityNodes": 0}
        self.pools[body["id"]] = body | {"state": "active", "allocationState": "resizing", "creationTime": now(), **nodes}
        self.nodes[body["id"]] = {}

    def add_job(self, body: Document) -> None:
        if body["id"] in self.jobs:
            raise Refusal(409, "JobExists", "The specified job already exists.")
        info: Document = {"startTime": now()}
        if auto := body["poolInfo"].get("autoPoolSpecification"):
            self._add_auto_pool(auto, info)
        elif body["poolInfo"]["poolId"] in self.pools:
            info["poolId"] = body["poolInfo"]["poolId"]
        else:
            raise Refusal(404, "PoolNotFound", "The specified pool does not exist.")
        made = {"state": "active", "creationTime": now(), "executionInfo": info, "_begun": time.monotonic()}
        self.jobs[body["id"]] = {key.replace("allTasksComplete", "onAllTasksComplete"): value for key, value in body.items()} | made
        self.tasks[body["id"]] = {}

    def _add_auto_pool(self, auto: Document, info: Document) -> None:
        """The pool that a job has to itself. One that cannot be made shows in the job, not in the answer."""
        name = f"{auto.get('autoPoolIdPrefix', '')}_{uuid.uuid4()}"
        try:
            self.add_pool(auto["pool"] | {"id": name})
        except Refusal as refusal:
            info["schedulingError"] = {"category": "usererror", "code": refusal.code, "message": refusal.message}
        else:
            info["poolId"] = name

    def add_task(self, job: str, body: Document) -> None:
        if self.jobs[job]["state"] != "active":
            raise Refusal(409, "JobNotActive", "The specified job is not active.")
        if body["id"] in self.tasks[job]:
            raise Refusal(409, "TaskExists", "The specified task already exists.")
        made = {"state": "active", "creationTime": now(), "executionInfo": {"retryCount": 0, "requeueCount": 0}}
        self.tasks[job][body["id"]] = body | made

    def end_task(self, job: str, task: Document, why: str) -> None:
        if task["state"] != "completed":
            _turn(task, "completed")
            failure = {"category": "usererror", "code": "TaskEnded", "message": why}
            task["executionInfo"] |= {"endTime": now(), "result": "failure", "failureInfo": failure}
        if running := self.find_running(job, task["id"]):
            running.end(why)

    def finish_job(self, job: Document, reason: str) -> None:
        for task in self.tasks[job["id"]].values():
            if task["state"] != "active":  # those that wait stay as they are
                self.end_task(job["id"], task, reason)
        self._give_up_pool(job)
        job["executionInfo"] |= {"endTime": now(), "terminateReason": reason}
        _turn(job, "completed")

    def _give_up_pool(self, job: Document) -> None:
        auto = job["poolInfo"].get("autoPoolSpecification")
        pool = self.pools.get(job["executionInfo"].get("poolId", ""))
        if auto and pool and not auto.get("keepAlive"):
            pool["state"] = "deleting"

    def find_running(self, job: str, task: str) -> Running | None:
        found = (node.running.get((job, task)) for nodes in self.nodes.values() for node in nodes.values())
        return next((running for running in found if running), None)


def _turn(document: Document, state: str) -> None:
    document |= {"previousState": document["state"], "state": state, "stateTransitionTime": now()}


def _are_done(tasks: Collection[Document]) -> bool:
    return len(tasks) > 0 and all(task["state"] == "completed" for task in tasks)
