#!/usr/bin/env bash
# Puts a running container on a network of the switch, by its name and without any plugin: it may be one of `--network none`,
# or have networks of its engine's own besides.
#
#   attach-container.sh NETWORK CONTAINER [OPTION...]
#   attach-container.sh shop web --ifname eth1 --ip 10.210.0.9 --alias db
#
# ENGINE is the engine's client: docker (the default) or podman. Options are those of `vswitchctl network connect`. Others on the
# network find the container by the name that was given here. The interface, its address and its port go with the container.
set -euo pipefail

[ $# -ge 2 ] || {
    printf 'usage: %s NETWORK CONTAINER [OPTION...]\n' "${0##*/}" >&2
    exit 2
}
network=$1 container=$2
shift 2

# No word splitting: ENGINE may have arguments, such as "podman --root /srv/containers".
read -ra engine <<<"${ENGINE:-docker}"
pid=$("${engine[@]}" inspect --format '{{.State.Pid}}' -- "$container")
if [ "$pid" -eq 0 ]; then
    printf '%s: container %s does not run\n' "${0##*/}" "$container" >&2
    exit 1
fi
exec "${VSWITCHCTL:-vswitchctl}" network connect "$network" "$pid" --alias "$container" "$@"
