#!/usr/bin/env bash
# Makes a network that is one with the network of the same name on another host, by VXLAN. Run it on both, with the addresses
# exchanged and another RANGE on each: the hosts do not know of each other's leases.
#
#   two-hosts.sh NETWORK LOCAL REMOTE RANGE
#   two-hosts.sh all 198.51.100.1 198.51.100.2 10.77.0.16/28      # on the one
#   two-hosts.sh all 198.51.100.2 198.51.100.1 10.77.0.32/28      # on the other
#
# SUBNET (10.77.0.0/24) and VNI (77) are the same on both.
set -euo pipefail

[ $# -ge 4 ] || {
    printf 'usage: %s NETWORK LOCAL REMOTE RANGE\n' "${0##*/}" >&2
    exit 2
}
network=$1 local=$2 remote=$3 range=$4
exec "${VSWITCHCTL:-vswitchctl}" network create "$network" --subnet "${SUBNET:-10.77.0.0/24}" --ip-range "$range" \
    --vni "${VNI:-77}" --local "$local" --remote "$remote"
