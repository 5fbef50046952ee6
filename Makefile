# rrun: build, check, test. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
CACHE := $(abspath $(or $(RRUN_TEST_CACHE),tests/.cache))
BIN := $(CACHE)/bin
export RRUN_TEST_CACHE := $(CACHE)

# ---- ours ----

# The supervisor links statically: there is one per pod, and the loader's private pages would cost
# each of them 100 KiB (a sleeping program: 185 KiB PSS static, 283 dynamic). So does the OCI
# command line, whose life is shorter than the loader's work. Both are for one fixed address: the
# 11,700 addresses that rrun-oci would else write into itself are 0.15 of the 1.5 ms that a start
# of it takes. The daemon and rrun, which speak with networks, keep a random one.
SHIM_TARGET := $(TARGET)/shim
# Named, so that the flag is for the program and not for the procedural macros of its build.
HOST := $(shell rustc -vV | sed -n 's/^host: //p')

# The command line is linked with musl where Rust's target for it is installed (`rustup target add`
# does that): glibc asks the processor what it is at each start, which a virtual machine makes dear.
MUSL := $(HOST:gnu=musl)
OCI_TARGET := $(if $(wildcard $(shell rustc --print target-libdir --target $(MUSL))),$(MUSL),$(HOST))
STATIC := RUSTFLAGS='-C target-feature=+crt-static -C relocation-model=static' \
	cargo build --profile shim --locked --target-dir $(SHIM_TARGET) --bins

.PHONY: build
build: ## release build of the four programs; rrun-shim and rrun-oci static
	cargo build --release --locked --workspace --exclude rrun-shim --exclude rrun-tests --bins
	$(STATIC) --package rrun-shim --target $(HOST)
	$(STATIC) --package rrun-runtime --target $(OCI_TARGET)
	install -m 0755 -t $(TARGET)/release \
		$(SHIM_TARGET)/$(HOST)/shim/rrun-shim $(SHIM_TARGET)/$(OCI_TARGET)/shim/rrun-oci

PREFIX ?= /usr/local
SHARED := share/man/man1 share/bash-completion/completions share/zsh/site-functions share/fish/vendor_completions.d

.PHONY: install
install: build man ## programs to PREFIX/bin, manual pages, completions, unit files to /etc/systemd/system
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin $(SHARED)) $(DESTDIR)/etc/systemd/system
	install -m 0755 -t $(DESTDIR)$(PREFIX)/bin $(addprefix $(TARGET)/release/,rrund rrun rrun-oci rrun-shim)
	for unit in rrund rrun-manifests; do \
		sed 's|/usr/local/bin/|$(PREFIX)/bin/|' dist/$$unit.service >$(TARGET)/release/$$unit.service; \
		install -m 0644 -t $(DESTDIR)/etc/systemd/system $(TARGET)/release/$$unit.service; done
	install -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man1 $(TARGET)/release/man/*.1
	install -m 0644 $(TARGET)/release/completion/bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/rrun
	install -m 0644 $(TARGET)/release/completion/zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_rrun
	install -m 0644 $(TARGET)/release/completion/fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/rrun.fish

# Made by the program that was built, as packages want them.
.PHONY: man
man: build ## manual pages and completion scripts of rrun, in the target folder
	rm -rf $(TARGET)/release/man $(TARGET)/release/completion
	mkdir -p $(TARGET)/release/man $(TARGET)/release/completion
	$(TARGET)/release/rrun man $(TARGET)/release/man
	for shell in bash zsh fish; do $(TARGET)/release/rrun completion $$shell >$(TARGET)/release/completion/$$shell; done

.PHONY: check
check: ## format, clippy, limits of the sources, pure tests; no root, no network
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --locked --package rrun-tests --test lint
	cargo test --locked --workspace --lib --bins
	@if [ -x $(CACHE)/cargo/bin/cargo-deny ]; then $(CACHE)/cargo/bin/cargo-deny --offline check bans licenses sources; \
	else echo 'cargo-deny is not installed here: `make deny` installs and runs it'; fi

.PHONY: deny
deny: $(CACHE)/cargo/bin/cargo-deny ## licences and sources of every dependency
	$< check bans licenses sources

.PHONY: advisories
advisories: $(CACHE)/cargo/bin/cargo-deny ## known holes in dependencies; fetches the RustSec database
	$< check advisories

$(CACHE)/cargo/bin/cargo-deny:
	cargo install --locked cargo-deny --root $(CACHE)/cargo

.PHONY: test
test: setup tools ## every suite, on debug builds; the last line counts them
	tests/run

.PHONY: conformance
conformance: setup tools build ## critest, against tests/conformance/must-pass.txt
	RRUN_BIN=$(TARGET)/release tests/conformance/run

.PHONY: kubelet
kubelet: setup tools build ## a real kubelet with static pods on rrund
	RRUN_BIN=$(TARGET)/release tests/kubelet/run

.PHONY: cluster
cluster: setup tools $(BIN)/control-plane/etcd build ## a cluster of one node and one of two: a real control plane, kubelets, rrund
	RRUN_BIN=$(TARGET)/release tests/cluster/run

.PHONY: vm-test
vm-test: setup tools build ## Debian 12 with systemd, cgroup v2 and AppArmor, in a virtual machine
	RRUN_BIN=$(TARGET)/release tests/vm/run

.PHONY: bench
bench: setup tools build ## rrun beside containerd, runc and crun
	tests/bench/run

.PHONY: fuzz
fuzz: $(CACHE)/cargo/bin/cargo-fuzz ## what images, registries, configurations and the kernel say, made at random, 60 s a target; needs nightly Rust
	PATH=$(CACHE)/cargo/bin:$$PATH images/fuzz/run
	PATH=$(CACHE)/cargo/bin:$$PATH runtime/fuzz/run

$(CACHE)/cargo/bin/cargo-fuzz:
	cargo install --locked cargo-fuzz --root $(CACHE)/cargo

# Only what the example needs, in a profile whose aim is that the first pod stands soon.
.PHONY: run
run: ## the example pod, with no daemon and no network
	tests/setup example
	cargo build --profile first --locked --package rrun-cli --package rrun-shim --bins
	RRUN_BIN=$(TARGET)/first examples/run

# ---- what tests need ----

.PHONY: setup
setup: ## install missing host packages, unpack the test images' Debian packages
	tests/setup

# One module each, as their dependencies collide in one; built again when its go.mod or go.sum changed.
GO_BUILD := go build -buildvcs=false -trimpath
GO_FLAGS = -ldflags '-s -w $(1)'
tools_mod = tests/tools/$(1)/go.mod tests/tools/$(1)/go.sum

.PHONY: tools
tools: $(BIN)/crictl $(BIN)/kubelet $(BIN)/containerd $(BIN)/runc $(BIN)/cni/bridge ## the real clients and peers

# crictl, critest and ginkgo, which runs critest in parallel.
$(BIN)/crictl: $(call tools_mod,cri-tools) | $(BIN)
	cd tests/tools/cri-tools && export CGO_ENABLED=0 && \
	go test -c -buildvcs=false -trimpath \
		$(call GO_FLAGS,-X sigs.k8s.io/cri-tools/pkg/version.Version=1.36.0) -o $(BIN)/critest sigs.k8s.io/cri-tools/cmd/critest && \
	$(GO_BUILD) $(call GO_FLAGS,-X sigs.k8s.io/cri-tools/pkg/version.Version=1.36.0) -o $(BIN)/ tool

$(BIN)/kubelet: $(call tools_mod,kubelet) | $(BIN)
	cd tests/tools/kubelet && export CGO_ENABLED=0 && \
	$(GO_BUILD) $(call GO_FLAGS,-X k8s.io/component-base/version.gitVersion=v1.36.2) -o $(BIN)/ tool

# containerd, its shim and ctr, without the snapshotters that need C libraries.
$(BIN)/containerd: $(call tools_mod,containerd) | $(BIN)
	cd tests/tools/containerd && export CGO_ENABLED=0 && \
	$(GO_BUILD) -tags no_btrfs,no_devmapper,no_zfs $(call GO_FLAGS) -o $(BIN)/ tool

# A control plane, for `make cluster` alone: it is most of what there is to build.
PLANE := kube-apiserver kube-controller-manager kube-scheduler kubectl
$(BIN)/control-plane/etcd: $(call tools_mod,control-plane) | $(BIN)
	mkdir -p $(BIN)/control-plane && cd tests/tools/control-plane && export CGO_ENABLED=0 && \
	$(GO_BUILD) $(call GO_FLAGS,-X k8s.io/component-base/version.gitVersion=v1.36.2) -o $(BIN)/control-plane/ \
		$(PLANE:%=k8s.io/kubernetes/cmd/%) && \
	$(GO_BUILD) $(call GO_FLAGS) -o $(BIN)/control-plane/etcd go.etcd.io/etcd/server/v3

# cgo: without libseccomp every pod with containerd's default profile fails.
$(BIN)/runc: $(call tools_mod,runc) | $(BIN)
	cd tests/tools/runc && export CGO_ENABLED=1 && \
	$(GO_BUILD) -tags seccomp $(call GO_FLAGS) -o $(BIN)/ tool

$(BIN)/cni/bridge: $(call tools_mod,cni) | $(BIN)
	mkdir -p $(BIN)/cni && cd tests/tools/cni && export CGO_ENABLED=0 && \
	$(GO_BUILD) $(call GO_FLAGS) -o $(BIN)/cni/ tool

$(BIN):
	mkdir -p $@

.PHONY: help
help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## */\1\t/' | expand -t 14
