# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later

# What a developer types; CONTRIBUTING.md says more. Every target prepares what it needs.

SHELL := /bin/sh
.DEFAULT_GOAL := help
# Stages share the kernel, the laboratory's addresses and two cores: never run them at once.
.NOTPARALLEL:

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# In a collection, molecule would rather look elsewhere.
export MOLECULE_GLOB := molecule/*/molecule.yml

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: setup ## build the laboratory, balance real traffic, show the table (root)
	@lab/demo

demo-fleet: setup ## three balancers announce by BGP, fail and are upgraded under load (root)
	@python -m lab.fleet

demo-clean: python ## remove what make demo and make demo-fleet left behind (root)
	@lab/demo clean
	@python -m lab.fleet --clean

test: setup ## the stages from lint to fleet, with the time of each (root)
	@tools/stages --beside userlands lint unit sanity molecule --then packet fleet

lint: python ## style and types of Python, C, YAML, shell and Ansible content
	@tools/lint

format: python ## let ruff and clang-format lay out the code
	@ruff check --quiet --fix-only && ruff format --quiet
	@git ls-files -z --cached --others --exclude-standard -- '*.c' '*.h' | xargs -0r clang-format -i

unit: python ## the pure layers; takes seconds, needs no privileges
	@python -m pytest tests/unit

sanity: python ## ansible-test sanity, on the collection as it ships
	@tools/gate/ansible-test 2.19 tarball sanity

packet: setup ## the compiled program on single packets (root)
	@python -m pytest --numprocesses 2 --dist loadfile tests/packet

packet-long: setup ## a million random packets, from another seed each time (root)
	@L4LB_PACKETS=$${L4LB_PACKETS:-1000000} L4LB_SEED=$${L4LB_SEED:-$$(date +%s)} \
		python -m pytest --timeout 0 tests/packet/test_random.py

fleet: ## several balancers in the laboratory (root)
	@tools/setup browser
	@python -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder tests/fleet

fleet-long: setup ## the same, with all that make fleet takes samples of, or leaves out (root)
	@tools/setup browser
	@L4LB_THOROUGH=1 python -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder tests/fleet

molecule: setup ## the role in the laboratory, from virgin hosts to removal (root)
	@molecule test

userlands: ## balancers with the files of Debian 13: its compiler, its Python, its tools (root)
	@tools/setup userlands
	@python -m pytest tests/userlands

machine: ## a machine of Debian 13 in QEMU: deployed, rebooted, and a balancer again (root)
	@tools/setup machines
	@python -m pytest --capture no --durations 0 --durations-min 1 tests/vm

vm: ## balancers of Debian 12 and 13 in QEMU, and a backend with its kernel's tunnels (root)
	@tools/setup machines
	@molecule test --scenario-name vm

gates: python ## what others judge the collection by; tools/gates NAME runs one
	@tools/gates

bench: setup ## what packets and changes cost, against the targets; build/bench.json (root)
	@python -m tests.bench

figures: python ## put what make bench has measured into docs/performance.md
	@python -m tests.bench.document

fleet-size: setup ## what playbooks take for 50 balancers, into docs/large-fleets.md (root)
	@python -m tests.bench.fleet

kernels: ## Debian's kernels in QEMU: programs verified, packets, kernel tunnels (root)
	@tools/kernels

matrix: ## every version of ansible-core and Python that README.md names; writes its table (root)
	@tools/matrix

setup: ## the development environment and the packages of the system (root)
	@tools/setup

python: ## the development environment alone
	@tools/setup python

clean: ## remove everything that was made here, packages aside
	@rm -rf .ansible .venv .cache build .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help demo demo-fleet demo-clean test lint format unit sanity packet packet-long fleet fleet-long molecule userlands machine vm gates bench figures fleet-size kernels matrix setup python clean
