# Installs what Tessera is built from and builds it. Sourced by sim/quickstart and tests/run.
#
# Knows Debian 12 and, by its package names, Ubuntu 24.04. Touches nothing that is already there.

tessera_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
build_packages=(cmake ninja-build g++ ccache libsystemc-dev libboost-graph-dev libyaml-cpp-dev
                libeigen3-dev libfmt-dev libcli11-dev nlohmann-json3-dev libsqlite3-dev libssl-dev
                libbenchmark-dev librapidcheck-dev)
browser_packages=(chromium chromium-driver)  # the pages are tested in a real browser
comparison_packages=(libsimgrid-dev)  # flows are compared with SimGrid's
lint_packages=(clang-tidy)

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
fail() { say "$*"; exit 1; }

# Prints those of its arguments that dpkg does not have installed.
missing_packages() {
  local installed package
  installed=" $(dpkg-query -W -f='${db:Status-Status}=${Package} ' "$@" 2>/dev/null || true)"
  for package in "$@"; do
    [[ $installed == *" installed=$package "* ]] || printf '%s\n' "$package"
  done
}

# Whether Catch2 3 is installed; Debian 12's own package is 2.13.
catch2_is_there() {
  local version
  version=$(dpkg-query -W -f='${db:Status-Status}=${Version}' catch2 2>/dev/null || true)
  [[ $version == installed=* ]] && dpkg --compare-versions "${version#installed=}" ge 3
}

# Prints the packages of the browser in which pages are tested. Ubuntu carries Chromium as a snap only,
# which cannot be driven from a build: there the browser tests are skipped.
browser_packages_here() {
  if (. /etc/os-release && [ "${ID:-}" = ubuntu ]); then
    say "Ubuntu has no package of Chromium: the browser tests will be skipped"
  else
    printf '%s\n' "${browser_packages[@]}"
  fi
}

# The newest version of Catch2 3 that apt could install, or nothing.
catch2_candidate() {
  local version
  apt-cache madison catch2 2>/dev/null | awk -F'|' '{gsub(/ /, "", $2); print $2}' |
    while read -r version; do
      if dpkg --compare-versions "$version" ge 3; then printf '%s\n' "$version"; break; fi
    done
}

# backports_source APT_DIRECTORY SUITE: the entry of the machine's own apt sources that lists SUITE,
# changed to SUITE-backports. The first output line says which form it has: sources or list.
backports_source() {
  local file
  for file in "$1"/sources.list.d/*.sources; do
    [ -f "$file" ] || continue
    awk -v suite="$2" '
      function flush(  i, text) {
        if (has_suite && is_deb && enabled && !done) {
          print "sources"
          for (i = 1; i <= lines; ++i) print line[i]
          done = 1
        }
        lines = 0; has_suite = 0; is_deb = 0; enabled = 1
      }
      BEGIN { enabled = 1 }
      /^[ \t]*$/ { flush(); next }
      /^#/ { next }
      {
        field = tolower($0); sub(/:.*/, "", field)
        if (field == "types") is_deb = ($0 ~ /[ \t:]deb([ \t]|$)/)
        if (field == "enabled") enabled = ($0 !~ /:[ \t]*(no|false|0)/)
        if (field == "suites") {
          for (i = 2; i <= NF; ++i) if ($i == suite) has_suite = 1
          line[++lines] = "Suites: " suite "-backports"
        } else if (field == "types") {
          line[++lines] = "Types: deb"
        } else {
          line[++lines] = $0
        }
      }
      END { flush() }' "$file" | grep . && return 0
  done
  for file in "$1"/sources.list "$1"/sources.list.d/*.list; do
    [ -f "$file" ] || continue
    awk -v suite="$2" '
      $1 == "deb" {
        at = 2
        if ($at ~ /^\[/) { while ($at !~ /\]$/ && at < NF) ++at; ++at }
        if ($(at + 1) == suite) {
          $(at + 1) = suite "-backports"
          print "list"; print; exit
        }
      }' "$file" | grep . && return 0
  done
  return 1
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    env DEBIAN_FRONTEND=noninteractive "$@"
  else
    sudo env DEBIAN_FRONTEND=noninteractive "$@"
  fi
}

# Adds the backports suite of this machine's distribution to its apt sources.
add_backports() {
  local suite entry form
  suite=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
  entry=$(backports_source /etc/apt "$suite") ||
    fail "no apt source of this machine lists the suite '$suite': install Catch2 3 (package catch2) by hand"
  form=${entry%%$'\n'*}
  say "adding /etc/apt/sources.list.d/tessera-backports.$form, for Catch2 3"
  printf '%s\n' "${entry#*$'\n'}" | as_root tee "/etc/apt/sources.list.d/tessera-backports.$form" >/dev/null
  as_root apt-get -q update </dev/null
}

# install_missing ALLOWED PACKAGE...: brings what is missing, or with ALLOWED=no lists it and fails.
install_missing() {
  local allowed=$1 wanted=() catch2=() version
  shift
  mapfile -t wanted < <(missing_packages "$@")
  command -v npm >/dev/null || wanted+=(npm)
  catch2_is_there || catch2=(catch2)
  [ $((${#wanted[@]} + ${#catch2[@]})) -eq 0 ] && return 0
  if [ "$allowed" = no ]; then
    fail "missing, and --no-install given: ${wanted[*]}${catch2:+ catch2 (>= 3)}"
  fi
  command -v apt-get >/dev/null || fail "needs apt; missing: ${wanted[*]}${catch2:+ catch2 (>= 3)}"
  [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null ||
    fail "neither root nor sudo; missing: ${wanted[*]}${catch2:+ catch2 (>= 3)}"
  say "will install: ${wanted[*]}${catch2:+ catch2 (>= 3)}"
  as_root apt-get -q update </dev/null
  if [ ${#catch2[@]} -gt 0 ]; then
    [ -n "$(catch2_candidate)" ] || add_backports
    version=$(catch2_candidate)
    [ -n "$version" ] || fail "apt offers no Catch2 3, not even in backports"
    wanted+=("catch2=$version")
  fi
  as_root apt-get -q -y --no-install-recommends install "${wanted[@]}" </dev/null
}

# configure DIRECTORY OPTION...: runs cmake when the directory is not yet a Release build; ninja re-runs
# it later when it must.
configure() {
  local directory=$1
  shift
  [ -f "$directory/build.ninja" ] &&
    grep -q '^CMAKE_BUILD_TYPE:STRING=Release$' "$directory/CMakeCache.txt" ||
    cmake -S "$tessera_root" -B "$directory" -G Ninja -DCMAKE_BUILD_TYPE=Release "$@"
}
