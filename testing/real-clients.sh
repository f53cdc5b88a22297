#!/usr/bin/env bash
# Installs the clients and servers that the real-client tests drive: Debian's packages, with root or sudo, and nothing
# where all are there. Starts no service, and changes no setting of the system.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PATH:/usr/sbin:/sbin DEBIAN_FRONTEND=noninteractive

# What is looked for, and the package that has it. Docker's own packages, for one, will do as well as Debian's.
wanted=(
  docker-registry:docker-registry
  skopeo:skopeo
  podman:podman
  buildah:buildah
  runc:runc
  dockerd:docker.io
  docker:docker.io
  qemu-riscv64-static:qemu-user-static
  strace:strace
)
there() { command -v "$1" >/dev/null 2>&1; }
static_busybox() { there busybox && ! ldd "$(command -v busybox)" 2>/dev/null | grep -q '=>'; }

packages=()
for entry in "${wanted[@]}"; do
  package=${entry#*:}
  if ! there "${entry%%:*}" && [[ " ${packages[*]} " != *" $package "* ]]; then packages+=("$package"); fi
done
static_busybox || packages+=(busybox-static)

if [ ${#packages[@]} -gt 0 ]; then
  if ! there apt-get; then
    echo "real-clients: ${packages[*]}: missing, and there is no apt-get to install them with" >&2
    exit 1
  fi
  sudo=
  if [ "$(id -u)" -ne 0 ]; then
    there sudo || { echo "real-clients: ${packages[*]}: missing; installing them takes root" >&2; exit 1; }
    sudo="sudo --preserve-env=DEBIAN_FRONTEND"
  fi
  # A mirror that does not answer matters only if a package cannot be had then.
  $sudo apt-get update -qq -o Acquire::Retries=3 || echo "real-clients: apt-get update did not get everything" >&2
  # From Debian 13 on the client is a package of its own.
  if [[ " ${packages[*]} " == *" docker.io "* ]] && apt-cache show docker-cli >/dev/null 2>&1; then
    packages+=(docker-cli)
  fi
  # Several of these packages start a service, on ports that others may want; with a policy that says no, none does.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap '$sudo rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod +x "$policy"
  fi
  $sudo apt-get install -qq -y --no-install-recommends -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "${packages[@]}" >/dev/null
  echo "installed: ${packages[*]}"
fi

# busybox for another architecture, not installed but taken out of its package: images are made of it. apt gets a state
# of its own for that, so that the system does not learn of a foreign architecture.
target=target
if there cargo; then
  target=$(cargo metadata --format-version 1 --no-deps --offline --locked 2>/dev/null |
    sed 's/.*"target_directory":"\([^"]*\)".*/\1/') || target=${CARGO_TARGET_DIR:-target}
fi
foreign=arm64
[ "$(uname -m)" != aarch64 ] || foreign=amd64
if [ ! -s "$target/real-clients/busybox-$foreign" ]; then
  cache=$target/real-clients/apt
  mkdir -p "$cache/state/lists/partial" "$cache/archives/partial"
  cache=$(cd "$cache" && pwd)
  apt=(
    apt-get -qq -o APT::Architecture="$foreign" -o APT::Architectures="$foreign" -o APT::Sandbox::User=root
    -o Dir::State="$cache/state" -o Dir::State::status=/dev/null -o Dir::Cache="$cache" -o Acquire::Retries=3
    -o Acquire::Languages=none
  )
  if there apt-get && (cd "$cache" && { "${apt[@]}" update || true; } && "${apt[@]}" download busybox-static) &&
    dpkg-deb --extract "$cache"/busybox-static_*.deb "$cache/busybox"; then
    mv "$(find "$cache/busybox" -type f -name busybox -path '*bin/*')" "$target/real-clients/busybox-$foreign"
  else
    echo "skipped: no busybox for linux/$foreign to be had; other programs take its place" >&2
  fi
  rm -rf "$cache"
fi

for name in docker dockerd podman buildah skopeo docker-registry; do
  printf '%-16s %s\n' "$name" "$("$name" --version 2>&1 | head -1)"
done
