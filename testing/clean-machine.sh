#!/usr/bin/env bash
# Follows docs/book/serve.md word for word on a clean machine: Debian as debootstrap makes it, booted with systemd by
# systemd-nspawn, with docker, podman, skopeo and curl from Debian's packages. A user who has nothing but `polyarch`,
# `examples/` and `bin/` runs each `console` and each `sh` block in order; then it is looked at whether the service does what
# the chapter says. Takes root, a Debian system, and, the first time, its apt sources. Leaves nothing behind but the
# installed system as an archive below `target/`, for the next time.
#
# POLYARCH, if set, is the program that is tested; else a release build is made. CLEAN_MACHINE_KEEP=1 leaves the machine's
# directory for a look at it.
set -euo pipefail

# What the chapter takes for granted on a machine: the clients that it names, and what they need there.
packages=(ca-certificates curl dbus docker.io iproute2 iptables libpam-systemd podman procps skopeo sudo systemd systemd-sysv uidmap)
chapter=docs/book/serve.md

# ---- Inside the machine, as the user `you` ----

failures=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# verdict STATUS TEXT: one line for each thing that was tried, and what it printed if it did not go well.
verdict() {
  local text=${2//$'\n'/ }
  if [ "$1" -eq 0 ]; then
    printf 'ok      %s\n' "$text"
  else
    failures=$((failures + 1))
    printf 'FAILED  %s\n' "$text"
    sed 's/^/        | /' "$log"
  fi
}

# check TEXT COMMAND...: whether a command succeeds.
check() {
  local status=0
  "${@:2}" >"$log" 2>&1 </dev/null || status=$?
  verdict "$status" "$1"
}

commands=() outputs=() kinds=() places=() servers=()
blocks=0 skipped=0

# Takes the commands of a page, and what it says that they print.
read_page() {
  local number=0 fence='' continued='' last=-1 line
  while IFS= read -r line; do
    number=$((number + 1))
    if [[ $line == '```'* ]]; then
      if [ -n "$fence" ]; then fence=; else fence=${line#'```'} fence=${fence:-text}; fi
      continued=
      case $fence in
        '') ;;
        sh | console) blocks=$((blocks + 1)) ;;
        *) skipped=$((skipped + 1)); echo "skipped: line $number: a block of $fence" ;;
      esac
    elif [ "$fence" != sh ] && [ "$fence" != console ]; then
      :
    elif [ -n "$continued" ]; then
      commands[last]+=$'\n'$line
      [[ $line == *\\ ]] || continued=
    elif [ "$fence" = console ] && [[ $line != '$ '* ]]; then
      outputs[last]+=$line$'\n'
    elif [ -n "$line" ]; then
      last=${#commands[@]}
      commands[last]=${line#'$ '} outputs[last]='' kinds[last]=$fence places[last]=$number
      [[ $line == *\\ ]] && continued=1
    fi
  done <"$1"
}

# Whether what is in the log is what the page says, where `…` stands for any text. Widths of columns are not compared.
as_the_page_says() {
  local want got
  want=$(printf %s "$1" | sed 's/[][*?\\]/\\&/g; s/…/*/g; s/\([^ ]\)   */\1  /g')
  got=$(sed 's/\([^ ]\)   */\1  /g' "$log")
  # shellcheck disable=SC2053 # A pattern is what it is meant to be.
  [[ $got == $want ]]
}

# Runs all commands in one shell, as somebody does who types them.
run_page() {
  local code=0 number command right tries
  for number in "${!commands[@]}"; do
    command=${commands[number]} right=0
    log=$(mktemp)
    if [[ $command == *'&' ]]; then
      eval "$command" >"$log" 2>&1 </dev/null
      for ((tries = 0; tries < 600; tries++)); do
        if as_the_page_says "${outputs[number]}" || ! kill -0 $! 2>/dev/null; then break; fi
        sleep 0.1
      done
      code=0
      kill -0 $! 2>/dev/null || right=1
      servers[$!]=$command
    else
      set +e
      (exit "$code")
      eval "$command" >"$log" 2>&1 </dev/null
      code=$?
      set -e
      # What fails and is meant to is followed by `echo $?`.
      # shellcheck disable=SC2016
      [ "$code" -eq 0 ] || [ "${commands[number + 1]-}" = 'echo $?' ] || right=1
    fi
    if [ "${kinds[number]}" = console ]; then as_the_page_says "${outputs[number]}" || right=1; fi
    verdict "$right" "line ${places[number]}: $command"
    # What others print is on record: its last line. What ours prints is compared.
    [ "${kinds[number]}" = console ] || awk 'END { if ($0 != "") print "        " substr($0, 1, 160) }' "$log"
  done
}

ca=/etc/docker/certs.d/registry.lan/ca.crt
answer() { curl -sS --fail --cacert "$ca" -o /dev/null -w '%{http_code} %{time_total}\n' "https://localhost$1"; }
of_service() { systemctl show polyarch.service --property "$1" --value; }
log_of_service() { sudo journalctl --no-pager -u polyarch.service --since "$1"; }
log_of_process() { sudo journalctl --no-pager "_PID=$(of_service MainPID)"; }
settings() { sudo sed -i "$1" /etc/polyarch/polyarch.toml && sudo systemctl reload polyarch; }

units_are_active() {
  local unit
  for unit in polyarch.service polyarch.socket; do
    systemctl is-active "$unit" && systemctl is-enabled "$unit" || return 1
  done
}
the_socket_is_handed_on() {
  log_of_service today
  log_of_service today | grep -F 'listening on https://[::]:443' &&
    log_of_service today | grep -F '`0.0.0.0:5443` is not listened on: systemd handed on a socket' &&
    sudo ss -Hltnp 'sport = :443' | grep polyarch && [ -z "$(ss -Hltn 'sport = :5443')" ]
}
nothing_is_warned_of() {
  sudo journalctl --no-pager --quiet -u polyarch.service -u polyarch.socket -p warning | tee /dev/stderr | wc -l | grep -qx 0
}
it_may_little() {
  local pid most files=65536
  pid=$(of_service MainPID)
  # A machine that may have fewer cannot give more.
  most=$(awk '/^Max open files/ { print $5 }' /proc/1/limits)
  [ "$most" -ge "$files" ] || files=$most
  ps -o user=,args= -p "$pid"
  sudo grep -E '^(CapEff|NoNewPrivs|Seccomp):' "/proc/$pid/status"
  sudo grep '^Max open files' "/proc/$pid/limits"
  [ "$(ps -o user= -p "$pid")" = polyarch ] && sudo grep -qE '^CapEff:\s*0+$' "/proc/$pid/status" &&
    sudo grep -qE '^NoNewPrivs:\s*1$' "/proc/$pid/status" && sudo grep -qE "^Max open files +$files +$files " "/proc/$pid/limits"
}
files_keep_owner_and_mode() {
  local now
  now=$(sudo sh -c "stat -c '%U:%G %a %n' /etc/polyarch /etc/polyarch/* /var/lib/polyarch" | tee /dev/stderr)
  [ "$now" = "root:polyarch 750 /etc/polyarch
root:polyarch 640 /etc/polyarch/policy.toml
root:polyarch 640 /etc/polyarch/polyarch.toml
root:polyarch 640 /etc/polyarch/tokens
root:polyarch 640 /etc/polyarch/users
polyarch:polyarch 750 /var/lib/polyarch" ]
}
a_reload_lets_a_new_user_in() {
  local pid
  pid=$(of_service MainPID)
  ! echo other | polyarch login -u carol --password-stdin 127.0.0.1 || return 1
  echo other | sudo polyarch htpasswd carol --password-stdin --add-to /etc/polyarch/users &&
    sudo polyarch token robot --add-to /etc/polyarch/tokens >robot-token &&
    sudo systemctl reload polyarch &&
    echo other | polyarch login -u carol --password-stdin 127.0.0.1 &&
    polyarch login -u robot --password-stdin 127.0.0.1 <robot-token &&
    [ "$(of_service MainPID)" = "$pid" ]
}
push_as_bob() {
  echo secret | polyarch login -u bob --password-stdin 127.0.0.1 &&
    polyarch push 127.0.0.1:5000/demo/hello:v1 "127.0.0.1/team/$1:v1"
}
others_push_as_bob() {
  skopeo copy --all --src-tls-verify=false --dest-creds bob:secret docker://127.0.0.1:5000/demo/hello:v1 \
    docker://registry.lan/team/skopeo:v1 &&
    podman push --creds bob:secret 127.0.0.1:5000/demo/hello:v1 registry.lan/team/podman:v1
}
nobody_pushes_without_a_password() {
  local code=0
  polyarch logout 127.0.0.1
  polyarch push 127.0.0.1:5000/demo/hello:v1 127.0.0.1/team/nobody:v1 || code=$?
  [ "$code" -eq 4 ]
}
read_only_refuses_pushes_and_goes_on_with_pulls() {
  local right=0
  settings 's/^read-only = false/read-only = true/'
  push_as_bob readonly >refused 2>&1 && right=1
  cat refused
  grep -q 'read-only' refused || right=1
  polyarch pull 127.0.0.1/team/service:v1 || right=1
  settings 's/^read-only = true/read-only = false/'
  push_as_bob readonly && return "$right"
}
what_needs_a_restart_is_said() {
  local since
  since=$(date '+%F %T')
  settings 's/^listen = "0.0.0.0:5443"/listen = "0.0.0.0:5444"/'
  settings 's/^listen = "0.0.0.0:5444"/listen = "0.0.0.0:5443"/'
  log_of_service "$since"
  log_of_service "$since" | grep -F listen | grep -F restart
}
# For two seconds nobody is there to accept. No connection is refused, and none that was accepted before is dropped.
a_restart_lets_connections_wait() {
  local pid number clients=() slow=/run/systemd/system/polyarch.service.d
  pid=$(of_service MainPID)
  sudo mkdir -p "$slow"
  printf '[Service]\nExecStartPre=/bin/sleep 2\n' | sudo tee "$slow/slow.conf" >/dev/null
  sudo systemctl daemon-reload
  sudo systemctl restart polyarch &
  local restart=$!
  rm -f answers
  for number in {1..40}; do
    answer /healthz >>answers &
    clients+=($!)
    sleep 0.05
  done
  wait "${clients[@]}" "$restart"
  sudo rm -r "$slow"
  sudo systemctl daemon-reload
  sort answers
  # Each got 200, and some waited for it.
  [ "$(grep -c '^200 ' answers)" -eq 40 ] && awk '$2 > 1 { waited = 1 } END { exit !waited }' answers &&
    [ "$(of_service MainPID)" != "$pid" ]
}
a_connection_starts_it() {
  sudo systemctl stop polyarch.service && ! systemctl is-active polyarch.service &&
    answer /healthz && systemctl is-active polyarch.service
}
it_is_back_after_a_crash() {
  local pid restarts
  pid=$(of_service MainPID) restarts=$(of_service NRestarts)
  sudo kill -KILL "$pid"
  sleep 3
  systemctl is-active polyarch.service && [ "$(of_service MainPID)" != "$pid" ] &&
    [ "$(of_service NRestarts)" -eq $((restarts + 1)) ] && polyarch pull 127.0.0.1/team/service:v1
}
it_ends_with_0() {
  sudo systemctl stop polyarch.socket polyarch.service
  local ended
  ended=$(systemctl show polyarch.service -p Result -p ExecMainCode -p ExecMainStatus -p ActiveState | sort | tee /dev/stderr)
  [ "$ended" = 'ActiveState=inactive
ExecMainCode=1
ExecMainStatus=0
Result=success' ] && ! answer /healthz
}
a_certificate_of_ones_own() {
  local right=0
  sudo install -m 640 -g polyarch /var/lib/polyarch/tls/cert.pem /etc/polyarch/chain.pem
  sudo install -m 640 -g polyarch /var/lib/polyarch/tls/key.pem /etc/polyarch/key.pem
  sudo cp -p /etc/polyarch/polyarch.toml polyarch.toml.before
  sudo sed -i 's/^self-signed = true.*/cert = "chain.pem"\nkey = "key.pem"/' /etc/polyarch/polyarch.toml
  { sudo systemctl restart polyarch && answer /healthz; } || right=1
  log_of_process | grep -F 'listening on https://[::]:443' || right=1
  log_of_process | grep -F 'clients must trust' && right=1
  sudo cp -p polyarch.toml.before /etc/polyarch/polyarch.toml
  sudo systemctl restart polyarch && return "$right"
}
# One that hangs is ended and started anew within 30 s.
it_hangs() { sudo kill -STOP "$hanging"; }
the_watchdog_saw_it() {
  local tries
  for ((tries = 0; tries < 60; tries++)); do
    if [ "$(of_service MainPID)" != "$hanging" ] && systemctl is-active polyarch.service; then break; fi
    sleep 1
  done
  sudo journalctl --no-pager -u polyarch.service -n 20
  [ "$(of_service NRestarts)" -eq 1 ] && answer /healthz
}
# What clients show when the disk of a registry is full: that it has to do with storage.
full() {
  polyarch serve --listen 127.0.0.1:5009 --data full --disk-refuse-below 1000TB >full.log 2>&1 &
  local push code
  servers[$!]='polyarch serve --disk-refuse-below …'
  while kill -0 $! && ! grep -q 'listening on' full.log; do sleep 0.1; done
  docker tag 127.0.0.1:5000/demo/hello:v1 127.0.0.1:5009/demo/hello:v1
  for push in 'docker push 127.0.0.1:5009/demo/hello:v1' \
    'podman push --tls-verify=false 127.0.0.1:5000/demo/hello:v1 127.0.0.1:5009/demo/hello:v1' \
    'skopeo copy --src-tls-verify=false --dest-tls-verify=false docker://127.0.0.1:5000/demo/hello:v1 docker://127.0.0.1:5009/demo/hello:v1' \
    'polyarch push 127.0.0.1:5000/demo/hello:v1 127.0.0.1:5009/demo/hello:v1'; do
    code=0
    SECONDS=0
    eval "$push" >"$log" 2>&1 </dev/null || code=$?
    [ "$code" -ne 0 ] && grep -q 507 "$log" && code=0 || code=1
    verdict "$code" "after $SECONDS s: $push"
    tail -n 1 "$log" | sed 's/^/        /'
  done
}

follow() {
  cd
  umask 022
  echo "== the chapter"
  read_page /opt/polyarch/serve.md
  [ ${#commands[@]} -gt 40 ] || { echo "only ${#commands[@]} commands were found" >&2; exit 1; }
  run_page
  echo "${#commands[@]} commands of $blocks blocks were run, $skipped blocks skipped"
  echo "== the service"
  check "both units are active and enabled" units_are_active
  check "systemd's socket is handed on, and no other is listened on" the_socket_is_handed_on
  check "systemd has nothing to warn of" nothing_is_warned_of
  check "it is not root, has no capability, and the files that the unit says" it_may_little
  check "/metrics answers this machine" answer /metrics
  check "a user pushes over TLS" push_as_bob service
  check "skopeo and podman push as a user over TLS, the certificate verified" others_push_as_bob
  check "nobody pushes without a password" nobody_pushes_without_a_password
  check "a reload lets a new user and a new token in, at once, in the same process" a_reload_lets_a_new_user_in
  check "owners and modes are as the chapter sets them" files_keep_owner_and_mode
  check "read-only = true and a reload: no push, but pulls" read_only_refuses_pushes_and_goes_on_with_pulls
  check "what counts after a restart only is said at a reload" what_needs_a_restart_is_said
  check "40 connections during a restart: each is answered" a_restart_lets_connections_wait
  check "chain.pem and key.pem, as the chapter names them" a_certificate_of_ones_own
  check "a connection starts it after it was stopped" a_connection_starts_it
  check "it is back after SIGKILL, with its data" it_is_back_after_a_crash
  check "stopped, it ends with 0" it_ends_with_0
  check "it is started again" sudo systemctl start polyarch.socket polyarch.service
  local hanging
  hanging=$(of_service MainPID)
  check "it hangs from now on" it_hangs
  echo "== a full disk, as clients show it"
  full
  check "one that hangs is started anew by the watchdog" the_watchdog_saw_it
  finish
}

# After the machine was started again.
again() {
  cd
  echo "== after a reboot"
  check "both units are active" units_are_active
  check "what was pushed before is there" polyarch pull 127.0.0.1/team/docker:v1
  check "it answers" answer /healthz
  finish
}

finish() {
  local server
  for server in "${!servers[@]}"; do
    kill "$server"
    check "ended, 0: ${servers[server]}" wait "$server"
  done
  [ "$failures" -eq 0 ] || echo "$failures failed"
  [ "$failures" -eq 0 ]
}

case ${1-} in
  --follow) follow; exit ;;
  --again) again; exit ;;
esac

# ---- Outside ----

cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ "$(id -u)" -eq 0 ] || { echo "clean-machine: it boots a system: run it as root" >&2; exit 1; }
for tool in debootstrap:debootstrap systemd-nspawn:systemd-container nsenter:util-linux apt-get:apt; do
  command -v "${tool%%:*}" >/dev/null 2>&1 ||
    { echo "clean-machine: \`${tool%%:*}\` is missing: \`apt-get install ${tool##*:}\`" >&2; exit 1; }
done
target=$(cargo metadata --format-version 1 --no-deps --offline --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
polyarch=${POLYARCH:-}
if [ -z "$polyarch" ]; then
  cargo build --release --package polyarch-cli --locked --quiet
  polyarch=$target/release/polyarch
fi

work=$(mktemp -d "${TMPDIR:-/var/tmp}/clean-machine.XXXXXX")
root=$work/root
machine=
clear_up() {
  status=$?
  trap - EXIT INT TERM
  end_machine || true
  if [ -z "${CLEAN_MACHINE_KEEP:-}" ]; then rm -rf --one-file-system "$work"; else echo "kept: $root"; fi
  rm -f "$log"
  exit "$status"
}
trap clear_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

options=(--quiet --directory "$root" --machine clean-machine --register no --resolv-conf off)
# Where systemd does not run, there is no unit to be in.
[ -d /run/systemd/system ] || options+=(--keep-unit)

# The installed system, from the sources that apt has here.
install_system() {
  local codename sources
  codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
  sources=$(apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    grep -E " $codename(-[a-z]+)* main\$" | sort -u)
  local first
  first=$(grep " $codename main\$" <<<"$sources" | head -1 | cut -d ' ' -f 2)
  [ -n "$first" ] || { echo "clean-machine: apt has no source of Debian's $codename here" >&2; return 1; }
  debootstrap --variant=minbase "$codename" "$root" "$first" >"$work/log" || { tail -20 "$work/log" >&2; return 1; }
  echo "$sources" >"$root/etc/apt/sources.list"
  apt-config dump | grep -E '^Acquire::(http|https|Check)' >"$root/etc/apt/apt.conf.d/99clean-machine" || true
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  systemd-nspawn "${options[@]}" --pipe --setenv DEBIAN_FRONTEND=noninteractive sh -ec \
    "apt-get -q update && apt-get -qy install --no-install-recommends ${packages[*]} && apt-get clean" \
    >"$work/log" 2>&1 </dev/null || { tail -20 "$work/log" >&2; return 1; }
}

# The process that is PID 1 in there, as it is seen from here.
init_of_machine() { ps -o pid= --ppid "$machine" | head -1 | tr -d ' '; }
inside() { nsenter --target "$(init_of_machine)" --mount --uts --ipc --net --pid --cgroup --root --wd "$@"; }

# With a network of its own, which is nothing but loopback: its ports are free, and nothing comes from elsewhere. What docker
# does to its network and for its containers takes more than a machine of nspawn may otherwise.
boot() {
  systemd-nspawn "${options[@]}" --boot --private-network --capability all --system-call-filter 'add_key keyctl bpf' \
    >"$work/console" 2>&1 </dev/null &
  machine=$!
  local state=
  for _ in {1..120}; do
    sleep 0.5
    kill -0 "$machine" 2>/dev/null || break
    state=$(inside systemctl is-system-running 2>/dev/null) || true
    case $state in running | degraded) break ;; esac
  done
  echo "booted: systemd says $state"
  case $state in
    running) ;;
    degraded) inside systemctl --failed --no-pager ;;
    *) tail -20 "$work/console" >&2; return 1 ;;
  esac
}
end_machine() {
  [ -n "$machine" ] || return 0
  # Asks the systemd in there to power off.
  kill "$machine" 2>/dev/null || true
  wait "$machine" 2>/dev/null || true
  machine=
}

# as_you ARGUMENT: runs this script in there, in a session as one has who logs in.
as_you() {
  inside systemd-run --quiet --pipe --wait --collect --uid you --property PAMName=login --property WorkingDirectory=/home/you \
    --setenv LC_ALL=C.UTF-8 --setenv PATH=/home/you:/usr/local/bin:/usr/bin:/bin bash /opt/polyarch/clean-machine.sh "$1"
}

archive=$target/clean-machine/system.tar
if [ -s "$archive" ]; then
  mkdir "$root"
  tar --numeric-owner --xattrs --xattrs-include='*' -xf "$archive" -C "$root"
else
  echo "installing: ${packages[*]} …"
  install_system
  mkdir -p "$(dirname "$archive")"
  tar --numeric-owner --xattrs --xattrs-include='*' -cf "$archive.new" -C "$root" .
  mv "$archive.new" "$archive"
fi
echo clean-machine >"$root/etc/hostname"
# The name that the chapter gives the registry.
printf '127.0.0.1 localhost clean-machine registry.lan\n' >"$root/etc/hosts"
# Somebody who may administer the machine and use docker.
chroot "$root" useradd --create-home --shell /bin/bash --groups sudo,docker you
echo 'you ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/you"
# What the chapter says that you have: the program, `examples/`, `bin/`.
mkdir -p "$root/opt/polyarch" "$root/home/you/bin"
cp "$chapter" testing/clean-machine.sh "$root/opt/polyarch/"
cp "$polyarch" "$root/home/you/polyarch"
cp -R examples "$root/home/you/"
cargo run --quiet --locked --package polyarch-hello -- "$root/home/you/bin" >/dev/null
chroot "$root" chown -R you:you /home/you
sed 's/^/Debian /' "$root/etc/debian_version"
"$polyarch" --version

boot
status=0
as_you --follow || status=1
end_machine
boot
as_you --again || status=1
end_machine
[ "$status" -eq 0 ] || { echo "clean-machine: not all went as the chapter says" >&2; exit 1; }
echo "the chapter can be followed"
