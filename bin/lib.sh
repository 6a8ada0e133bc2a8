# Shared by bin/lab and bin/test. Sourced, never run.
# shellcheck shell=bash
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
export PERRON_STATE=$root/.lab
venv=$root/.venv
cache=/var/cache/perron # apt packages and the image's tar, kept between runs
run=/run/perron         # the machine's: podman's namespace, the locks
system=/etc/os-release
# shellcheck disable=SC2034 # bin/test names its containers by it
checkout=$(printf '%s' "$root" | sha256sum | cut -c1-8)

# Ansible starts Python for every task of every host: it must not compile itself anew each time, as it would where the
# machine's environment forbids bytecode. Beside the tree, which stays clean.
unset PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX=$root/.cache/bytecode

# What the image holds: a minimal Debian with what Ansible needs to get in, as a fresh host has
image_packages=systemd-sysv,dbus,dbus-user-session,python3,python3-apt,openssh-server,sudo,iproute2,ca-certificates,iputils-ping,procps,nftables,kmod,less,python3-debian
release=trixie

# die MESSAGE MEND: one clear message with the mend, then out
die() {
  printf '\n%s: %s\n  mend: %s\n' "$(basename "$0")" "$1" "$2" >&2
  exit 1
}

declare -a step_names=() step_seconds=()
# step NAME COMMAND…: run it, say how long it took
step() {
  local name=$1 began=$SECONDS
  shift
  printf '\n\033[1m▶ %s\033[0m\n' "$name"
  "$@" 7>&- # bin/lab's lock
  step_names+=("$name")
  step_seconds+=($((SECONDS - began)))
  printf '  %s: %s s\n' "$name" $((SECONDS - began))
}

as_root() {
  [ "$(id -u)" = 0 ] && return
  command -v sudo >/dev/null || die "this needs root" "run it as root, or install sudo"
  exec sudo --preserve-env=PATH,PYENV_ROOT,PIP_CONFIG_FILE,PIP_FIND_LINKS,PIP_CERT,CI,UPSTREAM_DIR,ANSIBLE_STRATEGY,ANSIBLE_STRATEGY_PLUGINS,PERRON_TAIL "$0" "$@"
}

supported_system() {
  local id version
  # shellcheck source=/dev/null
  id=$(. "$system" && echo "${ID:-}")
  # shellcheck source=/dev/null
  version=$(. "$system" && echo "${VERSION_ID:-}")
  case "$id-$version" in
    debian-12 | debian-13) ;;
    *) die "unsupported system '$id $version'" "use a machine or a virtual machine with Debian 12 or 13" ;;
  esac
}

# The containers, the packages with the image's tar, and the environment with what the lab knows of itself: GiB
disk_space() {
  local place free
  for place in /var/lib:8 "$cache:3" "$root:1"; do
    free=$(df --output=avail -BG "${place%:*}" | tail -n 1 | tr -dc 0-9)
    [ "$free" -ge "${place##*:}" ] ||
      die "$free GiB free under ${place%:*}, the lab needs ${place##*:}" "free some space there, or 'bin/lab destroy' an older lab"
  done
}

controller_packages() {
  local wanted=(podman netavark aardvark-dns crun iproute2 iptables nftables mmdebstrap util-linux openssh-client ca-certificates procps)
  local missing=() package
  # a Python that is recent enough is often there without what makes an environment
  ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null || wanted+=(python3-venv)
  for package in "${wanted[@]}"; do
    [ "$(dpkg-query -Wf '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  echo "  installing ${missing[*]}"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "${missing[@]}"; } \
    >"$run/apt.log" 2>&1 || { tail -n 20 "$run/apt.log" >&2; die "apt could not install ${missing[*]}" "see the lines above; does 'apt-get update' work?"; }
}

find_python() {
  local candidate candidates
  # of several the newest: each has been faster than the one before
  mapfile -t candidates < <(printf '%s\n' "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9].*/bin/python3 | sort -rV)
  for candidate in python3.14 python3.13 python3.12 python3 "${candidates[@]}"; do
    candidate=$(command -v "$candidate") || continue
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  die "no Python 3.12 or later with venv" "Debian 13: apt install python3-venv; Debian 12: install one with pyenv"
}

virtual_environment() {
  local stamp python
  stamp=$(sha256sum <"$root/requirements.txt")
  exec 8>"$run/environment.lock"
  flock 8 # a second run waits for it
  if [ "$(cat "$venv/stamp" 2>/dev/null)" != "$stamp" ]; then
    python=$(find_python)
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/pip" install --no-compile --disable-pip-version-check --require-hashes -r "$root/requirements.txt" \
      >"$run/pip.log" 2>&1 || { tail -n 20 "$run/pip.log" >&2; die "pip could not install requirements.txt" "see pip's lines above"; }
    printf '%s' "$stamp" >"$venv/stamp"
  fi
  exec 8>&-
  export PATH="$venv/bin:$root/bin:$PATH"
}

# apt_mirror NAME: the archive of that name (debian, debian-security) that this machine itself uses
apt_mirror() {
  local uri
  # shellcheck disable=SC2016 # apt's own variable
  uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | while read -r uri; do
    # Debian's cloud images name a file with a list of mirrors instead
    case $uri in mirror+file:*) uri=${uri#mirror+file:}; sed -n '/^[a-z]/{s/[ \t].*//;p;q}' "${uri%/}" ;; *) echo "$uri" ;; esac
  done | sed -n "\\,/$1/*\$,{s,/*\$,,p;q}")
  [ -n "$uri" ] || die "apt on this machine lists no archive '$1'" "give /etc/apt/sources.list.d/ one; the lab takes its packages from there"
  printf '%s' "$uri"
}

image() {
  local recipe tag tar mirror security
  mirror=$(apt_mirror debian)
  security=$(apt_mirror debian-security)
  recipe=$(declare -f image | cat - <(printf '%s' "$image_packages $release $mirror $security") | sha256sum | cut -c1-12)
  tag=perron/debian:$release-$recipe
  export PERRON_IMAGE=$tag
  "$root/bin/podman" image exists "$tag" && return
  exec 8>"$run/image.lock"
  flock 8 # a second run waits instead of building twice
  if ! "$root/bin/podman" image exists "$tag"; then
    tar=$cache/image.tar # the one that a killed run has left is written over
    # shellcheck disable=SC2016 # mmdebstrap sets $1
    # unsafe-io: a lab's disk need not survive a power cut; no documentation, no translations: nobody reads them there
    # the archive's lists stay: a fresh host need not fetch and parse them again before its first package
    mmdebstrap --quiet --variant=minbase --include="$image_packages" --skip=cleanup/apt/lists \
      --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='force-unsafe-io' \
      --aptopt='Acquire::Languages "none"' \
      --customize-hook='rm -f "$1"/etc/ssh/ssh_host_*' \
      --customize-hook='printf "" > "$1"/etc/machine-id' \
      "$release" "$tar" "deb $mirror $release main" "deb $mirror $release-updates main" \
      "deb $security $release-security main" ||
      { rm -f "$tar"; die "mmdebstrap could not build the image from $mirror" "is the archive reachable? does it carry $release?"; }
    "$root/bin/podman" import --quiet "$tar" "$tag" >/dev/null
    rm -f "$tar"
  fi
  exec 8>&-
}

# The checkout that the lab of this machine belongs to, if there is one
holder() { "$root/bin/podman" inspect --format '{{index .Config.Labels "perron"}}' perron-world 2>/dev/null || :; }

# network NAME THIRD: 10.89.THIRD.0/24 and fd53:c00b:0:THIRD::/64 (fd53:c00b::/64 for the lab's own)
network() {
  "$root/bin/podman" network exists "$1" && return
  no_bridge "$2"
  # nor does it give another the address of a container that it lost
  [ -n "$("$root/bin/podman" ps --all --quiet)" ] || rm -f /run/containers/networks/ipam.db
  "$root/bin/podman" network create --disable-dns --ipv6 --subnet "10.89.$2.0/24" --subnet "$3" "$1" >/dev/null
}

# no_bridge THIRD: podman removes a bridge with the last container on it, and not once that container was killed
# together with podman's own processes: a network of the same addresses could never be made again.
no_bridge() {
  local bridge left
  for bridge in $(ip -brief -4 address show type bridge to "10.89.$1.1/32" | cut -d ' ' -f 1); do
    # the network of a container that podman knows no more: it was ended as it removed it
    for left in $(where_podman_lives ip -oneline link show master "$bridge" | sed -n 's/.* link-netns \(netns-[^ ]*\).*/\1/p'); do
      "$root/bin/podman" ps --all --quiet | xargs -r "$root/bin/podman" inspect --format '{{.NetworkSettings.SandboxKey}}' |
        grep -qF "/$left" || where_podman_lives ip netns delete "$left"
    done
    for _ in {1..50}; do # the kernel takes its end of the cable away in its own time
      [ -n "$(ls "/sys/class/net/$bridge/brif")" ] || break
      sleep 0.1 # between two looks
    done
    [ -z "$(ls "/sys/class/net/$bridge/brif")" ] ||
      die "10.89.$1.0/24 is in use: something that is not of this project is attached to $bridge" \
        "end it, or give its network other addresses"
    ip link delete "$bridge"
  done
}

# One apt cache for all containers; downloads stay on the machine between runs
apt_cache() {
  exec 8>"$run/apt.lock"
  flock 8 # another checkout may find them missing at the same time
  network perron 53 fd53:c00b::/64
  network perron-roles 54 fd53:c00b:0:54::/64
  "$root/bin/container" cache perron-apt 8>&-
  exec 8>&-
}

# tests_lock CHECKOUT: held by each bin/test at work in it
tests_lock() { echo "$run/tests-$(printf '%s' "$1" | sha256sum | cut -c1-8).lock"; }

# As bin/podman does, in the mount namespace that it keeps, where there is one
where_podman_lives() {
  if mountpoint -q "$run/mnt/namespace"; then nsenter --mount="$run/mnt/namespace" "$@"; else "$@"; fi
}

# What podman believes to run, but does not: it would never start again.
forget_the_dead() {
  local booted name id pid sandbox
  command -v podman >/dev/null && command -v ps >/dev/null || return 0
  # Where /run outlives a boot (a machine that is itself a container), podman takes the containers of the last
  # boot for running: without these files it looks again, as after any other boot. The same where bin/podman's mount
  # namespace was unmounted: the containers' networks went with it, and podman cannot so much as list them.
  booted=$(($(date +%s) - $(ps -o etimes= -p 1)))
  if { [ -e /run/libpod/alive ] && [ "$(stat -c %Y /run/libpod/alive)" -lt "$((booted - 1))" ]; } ||
    { ! pgrep -x -r D,R,S conmon >/dev/null && ! "$root/bin/podman" ps >/dev/null 2>&1; }; then
    rm -rf /run/libpod /run/containers /run/crun /dev/shm/libpod_lock
    rm -f /run/netns/netns-* 2>/dev/null || : # one that is mounted stays
  fi
  # A container whose processes were ended together with podman's own (kill -9, a machine that ends all that was
  # started on it) can only be removed; podman leaves its network namespace behind, which would go on answering.
  while read -r name id pid; do
    grep -qs "$id" "/proc/$pid/cgroup" && continue
    # (one that another run removes just now is nobody's business)
    sandbox=$("$root/bin/podman" inspect --format '{{.NetworkSettings.SandboxKey}}' "$name" 2>/dev/null) || continue
    "$root/bin/podman" rm --force --time 0 "$name" >/dev/null
    [ -z "$sandbox" ] || where_podman_lives ip netns delete "$(basename "$sandbox")" 2>/dev/null || :
  done < <("$root/bin/podman" ps --no-trunc --filter label=perron --format '{{.Names}} {{.ID}} {{.Pid}}')
}

foundation() {
  mkdir -p "$run" "$cache"
  forget_the_dead
  # a lab of this checkout has what it needs
  [ "$(holder)" = "$root" ] || disk_space
  step "packages of this machine" controller_packages
  step "Python environment" virtual_environment
  step "Debian image" image
  step "apt cache" apt_cache
}
