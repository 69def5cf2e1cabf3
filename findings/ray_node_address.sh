#!/usr/bin/env bash
# ray 2.60.0: a local Ray that is given the address 127.0.0.1 listens on all addresses of the machine.
#
# Expected: ray.init(address="local", _node_ip_address="127.0.0.1", include_dashboard=False) binds its servers to that
#           address, as it names no other.
# Seen:     on Linux the address is replaced without a word by the machine's own; the servers of control, scheduling and
#           every worker listen on all addresses, and an agent on the machine's. With the environment variable
#           RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0, whose name speaks of other systems, all of them listen on loopback.
# Harm:     a program that starts Ray for itself opens its ports to the network, behind a token at best. The variable has
#           to be set before ray is imported.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token RAY_AUTH_TOKEN=only-for-this-run
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0 RAY_enable_metrics_collection=0

cat > "$folder/listening.py" << 'PYTHON'
import sys

import psutil
import ray

ray.init(
    address="local",
    include_dashboard=False,
    log_to_driver=False,
    object_store_memory=80 * 2**20,
    _node_ip_address="127.0.0.1",
    _temp_dir=sys.argv[1],
)
seen = set()
for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
    try:
        for one in process.net_connections("inet"):
            if one.status == psutil.CONN_LISTEN:
                seen.add(one.laddr.ip.removeprefix("::ffff:").startswith("127."))
    except psutil.Error:
        continue
print("loopback alone:", seen == {True})
ray.shutdown()
PYTHON

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq "ray==2.60.0" psutil
"$folder/venv/bin/python" "$folder/listening.py" "$folder/r1" | tee "$folder/seen"
grep -qF "loopback alone: False" "$folder/seen"
RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 "$folder/venv/bin/python" "$folder/listening.py" "$folder/r2" | tee "$folder/seen"
grep -qF "loopback alone: True" "$folder/seen"
