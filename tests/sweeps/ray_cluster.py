"""A Ray cluster of two nodes on this machine, in a process of its own: what it is asked on its input, it answers.

    python -m tests.sweeps.ray_cluster     prints its address; "kill N" ends node N as a power cut does
"""

from __future__ import annotations

import os
import socket
import sys

CPUS = 1  # of each node; the head has none, so that a driver's node is never lost
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # which has it keep to 127.0.0.1
    "RAY_agent_register_timeout_ms": "300000",  # on busy cores its helpers take a minute to start
    "RAY_raylet_start_wait_time_s": "300",
}


def main() -> None:
    import psutil
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **_ports()})
    nodes = [cluster.add_node(num_cpus=CPUS, **_ports()) for _ in range(2)]
    print(cluster.address, flush=True)
    for line in sys.stdin:
        node = nodes[int(line.split()[1])]
        for each in psutil.Process(node.all_processes["raylet"][0].process.pid).children(recursive=True):
            each.kill()  # its workers, and what they have started
        cluster.remove_node(node, allow_graceful=False)
        print("killed", flush=True)
    cluster.shutdown()


def _ports() -> dict[str, object]:
    """All of a node's ports: Ray waits fifteen seconds at most until a busy machine has found them."""
    names = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
    return {"node_ip_address": "127.0.0.1"} | {name: _free() for name in names}


def _free() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)
    main()
