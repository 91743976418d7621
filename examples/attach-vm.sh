#!/usr/bin/env bash
# Makes a TAP device for a virtual machine, and a port of a bridge of it.
#
#   attach-vm.sh BRIDGE DEVICE [USER]
#   attach-vm.sh br0 vm0 libvirt-qemu
#   qemu-system-x86_64 ... -netdev tap,id=n0,ifname=vm0,script=no,downscript=no -device virtio-net-pci,netdev=n0
#
# USER is who runs the machine, if not root. The device stays when the machine ends; `ip link delete DEVICE` ends both.
set -euo pipefail

bridge=${1:?which bridge?} device=${2:?which device?}
ip tuntap add dev "$device" mode tap vnet_hdr ${3:+user "$3"}
# Whatever fails from here on leaves no device.
trap 'ip link delete "$device"' ERR
ip link set "$device" up
"${VSWITCHCTL:-vswitchctl}" port add "$device" --bridge "$bridge" --netdev "$device"
