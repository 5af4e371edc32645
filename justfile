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

# Heavy features, which the lean default has not: each built once, with its tests
test-features:
    cargo test --profile quick -p laneway-proxy --features otlp,heap-profile --lib --test observed --test heap

# Right, wrong and unknown lanes through unmodified applications (--calls, --only, --loopback)
test-propagation *arguments: programs
    @"${CARGO_TARGET_DIR:-target}/quick/laneway-propagation" "$@"

# h2spec, the HTTP/2 conformance suite, in strict mode against our listener, with its figures
h2spec: programs
    cargo test --quiet --profile quick -p laneway-tests --test e2e h2spec -- --nocapture

# Against a real Kubernetes API server: every test that needs one, and an installation that is used (--only NAME, --keep)
test-k8s *arguments: programs
    @python3 tests/kubernetes/test.py "$@"

# The images of deploy/Dockerfile, their steps run without an engine, and each tried in nothing but its own root (--profile quick)
image *arguments:
    @python3 tests/kubernetes/image.py "$@"

# A sidecar's own drains, upgrades, failed upgrades and kills under load, with figures (--requests, --releases, --kills)
lifecycle *arguments: programs
    @"${CARGO_TARGET_DIR:-target}/quick/laneway-lifecycle" "$@"

# A control plane that is killed, stopped and away under load, with figures (--requests, --kills, --stopped)
outage *arguments: programs
    @"${CARGO_TARGET_DIR:-target}/quick/laneway-outage" "$@"

# Releases under load, at length: every instance replaced (3 rounds, announced and not), 100 lane switches; with their figures
resilience: programs
    LANEWAY_REQUESTS=100000 LANEWAY_ROUNDS=3 LANEWAY_SWITCHES=100 \
        cargo test --quiet --profile quick -p laneway-tests --test e2e releases -- --nocapture --test-threads 1

# Format, lints, architecture, coverage, what a decision costs
check: programs
    cargo fmt --all -- --check
    cargo clippy --profile quick --workspace --all-targets --quiet -- --deny warnings
    cargo test --quiet --profile quick --workspace --test architecture
    python3 tests/coverage.py
    @python3 tests/load/decide.py

# Check, heavy features, and what a request may cost: the committed counts (a release build, ten minutes)
check-all: check test-features
    @python3 tests/load/bench.py counts

# Put every file in the house's format
fmt:
    cargo fmt --all

# What tests and the demo start
[private]
programs:
    @cargo build --profile quick --workspace --bins

# Our proxy beside nginx, HAProxy, Envoy (`bench --help`); `bench counts`: against committed numbers; `bench ladder`, `bench switch`, `bench control`, `bench soak`
bench *arguments:
    @python3 tests/load/bench.py "$@"

# A fuzz target (h1, gate, tag, rules, config, cache, redirect, or all) over so many inputs, then libFuzzer's own arguments
fuzz target="h1" executions="1000000" *arguments:
    @tests/fuzz.sh "$@"
