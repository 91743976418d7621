#!/usr/bin/env bash
# A pod as a kubelet's runtime makes it: a network namespace that the plugin puts on a network, and any number of processes that
# share it, its address and its ports.
#
#   pod.sh add NAME [CONFIGURATION]      makes the pod, and prints the plugin's result
#   pod.sh run NAME COMMAND...           runs a process in it
#   pod.sh del NAME [CONFIGURATION]      takes it away; safe to repeat
#
# CONFIGURATION is a CNI configuration of one plugin, by default pod.conf beside this script. CNI_PATH says where plugins are.
set -euo pipefail

[ $# -ge 2 ] || {
    printf 'usage: %s add|run|del NAME [CONFIGURATION|COMMAND...]\n' "${0##*/}" >&2
    exit 2
}
verb=$1 name=$2
shift 2
namespace=pod-$name
configuration=${1:-$(dirname "$0")/pod.conf}

# One call of the plugin, as the specification has it: parameters in the environment, configuration on standard input.
plugin() {
    env CNI_COMMAND="$1" CNI_CONTAINERID="$name" CNI_NETNS="/run/netns/$namespace" CNI_IFNAME=eth0 \
        CNI_PATH="${CNI_PATH:-/opt/cni/bin}" CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAME=$name" \
        "${CNI_PATH:-/opt/cni/bin}/vswitch-cni" <"$configuration"
}

case $verb in
add)
    ip netns add "$namespace"
    ip -netns "$namespace" link set lo up
    plugin ADD || {
        ip netns delete "$namespace"
        exit 1
    }
    ;;
run) exec ip netns exec "$namespace" "$@" ;;
del)
    plugin DEL
    [ ! -e "/run/netns/$namespace" ] || ip netns delete "$namespace"
    ;;
*)
    printf '%s: %s is neither add, run nor del\n' "${0##*/}" "$verb" >&2
    exit 2
    ;;
esac
