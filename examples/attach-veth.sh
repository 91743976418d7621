#!/usr/bin/env bash
# Makes an interface that is there already a port of a bridge, or of a network's: the host's end of a veth, say, whose
# other end is a container's.
#
#   attach-veth.sh BRIDGE INTERFACE [OPTION...]
#   attach-veth.sh br0 veth1a2b --mode xdp --access 10
#
# The port is named after the interface, and goes with it. Give the host's end no address: the switch takes what comes in there.
set -euo pipefail

[ $# -ge 2 ] || {
    printf 'usage: %s BRIDGE INTERFACE [OPTION...]\n' "${0##*/}" >&2
    exit 2
}
bridge=$1 interface=$2
shift 2
exec "${VSWITCHCTL:-vswitchctl}" port add "$interface" --bridge "$bridge" --netdev "$interface" "$@"
