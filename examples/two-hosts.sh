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

network=${1:?which network?} local=${2:?which address has this host?}
remote=${3:?which address has the other host?} range=${4:?which addresses does this host give?}
exec "${VSWITCHCTL:-vswitchctl}" network create "$network" --subnet "${SUBNET:-10.77.0.0/24}" --ip-range "$range" \
    --vni "${VNI:-77}" --local "$local" --remote "$remote"
