#!/usr/bin/env bash
# Makes a TAP device for a virtual machine, and a port of a bridge of it.
#
#   attach-vm.sh BRIDGE DEVICE [USER]
#   attach-vm.sh br0 vm0 libvirt-qemu
#   qemu-system-x86_64 ... -netdev tap,id=n0,ifname=vm0,script=no,downscript=no -device virtio-net-pci,netdev=n0
#
# USER is who runs the machine, if not root. The device stays when the machine ends; `ip link delete DEVICE` ends both.
set -euo pipefail

[ $# -ge 2 ] || {
    printf 'usage: %s BRIDGE DEVICE [USER]\n' "${0##*/}" >&2
    exit 2
}
bridge=$1 device=$2
ip tuntap add dev "$device" mode tap vnet_hdr ${3:+user "$3"}
# Whatever fails from here on leaves no device.
trap 'ip link delete "$device"' ERR
ip link set "$device" up
"${VSWITCHCTL:-vswitchctl}" port add "$device" --bridge "$bridge" --netdev "$device"
