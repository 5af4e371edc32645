# Every command of the project. `./x RECIPE` runs one and installs what it needs first.

set positional-arguments

# Tests that cannot run here write a line each into this file; the run counts them. In CI they fail instead.
export LANEWAY_SKIPPED := env("CARGO_TARGET_DIR", justfile_directory() / "target") / "skipped"

# The recipes
default:
    @just --list --unsorted

# The main job on this machine: a mesh, its curls, their answers (--json, --keep)
demo *arguments: programs
    @"${CARGO_TARGET_DIR:-target}/quick/laneway-demo" "$@"

# All tests: pure, in process, in namespaces, end to end
test *arguments: programs
    @rm -f "$LANEWAY_SKIPPED"
    cargo test --profile quick --workspace "$@"
    @[ ! -s "$LANEWAY_SKIPPED" ] || { echo "skipped: $(wc -l <"$LANEWAY_SKIPPED")"; cat "$LANEWAY_SKIPPED"; }

# Format, lints, architecture, coverage
check: programs
    cargo fmt --all -- --check
    cargo clippy --workspace --all-targets --quiet -- --deny warnings
    cargo test --quiet --profile quick -p laneway-tests --test architecture
    python3 tests/coverage.py

# Put every file in the house's format
fmt:
    cargo fmt --all

# What tests and the demo start
[private]
programs:
    @cargo build --profile quick --workspace --bins

# Our proxy beside nginx, HAProxy and Envoy (`bench --help`); `bench switch`: 100 live switches of a lane
bench *arguments:
    @python3 tests/load/bench.py "$@"
