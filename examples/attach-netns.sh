#!/usr/bin/env bash
# Puts a network namespace on a network of the switch, and makes both if they are not there. Safe to repeat.
#
#   attach-netns.sh NETWORK NAMESPACE [OPTION...]
#   attach-netns.sh shop web --ip 10.210.0.9
#
# `ip netns delete NAMESPACE` takes all of it away.
set -euo pipefail

[ $# -ge 2 ] || {
    printf 'usage: %s NETWORK NAMESPACE [OPTION...]\n' "${0##*/}" >&2
    exit 2
}
network=$1 namespace=$2
shift 2
vswitchctl=${VSWITCHCTL:-vswitchctl}

if [ ! -e "/run/netns/$namespace" ]; then
    ip netns add "$namespace"
    ip -netns "$namespace" link set lo up
fi
# A network that is there is left as it is, unless this asks for another one.
"$vswitchctl" network inspect "$network" >/dev/null 2>&1 || "$vswitchctl" network create "$network"
exec "$vswitchctl" network connect "$network" "$namespace" "$@"
