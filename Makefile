# The front door. `make help` lists what there is; everything below is one or two commands you can also type yourself.
MAKEFLAGS += --no-print-directory
.NOTPARALLEL:

PREFIX ?= /usr/local
PYTHON ?= python3
BASH_COMPLETIONS = $(PREFIX)/share/bash-completion/completions
ZSH_COMPLETIONS = $(PREFIX)/share/zsh/site-functions
BUILD := build
RELEASE := build-release
RUN_TESTS = $(PYTHON) tools/run_tests.py --build $(BUILD) $(if $(ONLY),-R '$(ONLY)') $(if $(JOBS),-j $(JOBS)) $(if $(V),-v)
FORMATTED = $(shell find $(wildcard src bench fuzz tests) -name '*.cc' -o -name '*.h')

# What a person writes is text. As these were given they would be make's own language, expanded on their way into the environment
# of every recipe; as plain variables they reach the program byte for byte, and no shell ever sees them.
override export PROMPT := $(value PROMPT)
override export SESSION := $(value SESSION)
override export NAME := $(value NAME)
MAKEOVERRIDES =

.PHONY: all deps programs session agent poll webhook webhook-sandbox webhook-sandbox-status webhook-sandbox-logs webhook-sandbox-rm build build-webhook test test-all test-vm bench fuzz soak up format check install clean help

all: $(BUILD)/deps.installed $(BUILD)/build.ninja  ## Install what is missing (apt) and build the programs into build/bin
	@ninja -C $(BUILD)

# Looked at again only when the list of packages has changed: `make deps` looks in any case.
$(BUILD)/deps.installed: tools/install-deps.sh
	@mkdir -p $(BUILD)
	@tools/install-deps.sh >&2
	@touch $@

$(BUILD)/build.ninja: | $(BUILD)/deps.installed
	@cmake --preset dev -B $(BUILD) >$(BUILD)/configure.log || { cat $(BUILD)/configure.log >&2; exit 1; }

deps:
	@mkdir -p $(BUILD)
	@tools/install-deps.sh

# Only the programs, and silent when there is nothing to do: stdout is the program's.
PROGRAMS_NOW = glovebox glovebox-hand glovebox-image glovebox-unpack
programs: SHELL := /bin/bash
programs: $(BUILD)/deps.installed $(BUILD)/build.ninja
	@test -x $(BUILD)/bin/glovebox || { echo "building, once; this takes some minutes" >&2; ninja -C $(BUILD) $(PROGRAMS_NOW) >&2; }
	@set -o pipefail; ninja --quiet -C $(BUILD) $(PROGRAMS_NOW) | { grep -v '^ninja: no work to do' || true; } >&2

# .env and .env.local, as far as they are the business of who is started (tools/with_env.py).
ENV_DIR ?= .
GLOVEBOX = $(BUILD)/bin/glovebox
with_env = $(PYTHON) tools/with_env.py --dir '$(ENV_DIR)' $(1) --
WEBHOOK_SANDBOX = $(call with_env,webhook-sandbox) $(GLOVEBOX) orchestrate --mode=webhook-sandbox

session: programs  ## Give an agent something to do: PROMPT='…', SESSION=sesn_… goes on with one
	@$(call with_env,session) $(GLOVEBOX) session

agent: programs  ## Make an agent: NAME=…
	@$(call with_env,agent) sh -c 'exec "$$0" agent create "$$NAME" $${ANTHROPIC_AGENT_MODEL:+"--model=$$ANTHROPIC_AGENT_MODEL"}' $(GLOVEBOX)

poll: programs  ## Take work from the queue of .env (or the brain here), asking all the time
	@exec $(call with_env,poll) $(GLOVEBOX) orchestrate --mode=poll $(ARGS)

webhook: programs  ## The same, asking when a signed webhook says so; listens at 127.0.0.1:5051 (PORT=)
	@exec $(call with_env,webhook) $(GLOVEBOX) orchestrate --mode=webhook $(ARGS)

webhook-sandbox: programs  ## The same, with the receiver in a sandbox that sleeps until it is called
	@$(WEBHOOK_SANDBOX)
webhook-sandbox-status: programs  ## Say how it is
	@$(WEBHOOK_SANDBOX) status
webhook-sandbox-logs: programs  ## What it said
	@$(WEBHOOK_SANDBOX) logs
webhook-sandbox-rm: programs  ## Take it away
	@$(WEBHOOK_SANDBOX) rm

# Sessions run above this machine's own /usr and the receiver is one of our programs: there is nothing to build but those.
build build-webhook: programs  ## Build what poll, webhook and webhook-sandbox need

test: all  ## Run all tests but the slow ones; ONLY=regex picks some, V=1 shows their output
	@$(RUN_TESTS) --exclude slow

test-all: all  ## Run all tests, the slow ones too
	@$(RUN_TESTS)

test-vm: all  ## Run functional tests in a Debian 12 as it comes, in QEMU; ONLY='lifecycle canaries' names them
	@$(PYTHON) tools/test_vm.py --build $(BUILD) $(ONLY) $(if $(V),-v)

bench: release  ## Measure all beside what it is compared with, one table; BENCH_ONLY=create,gateway picks some, BENCH_QUICK=1 few rounds
	@tools/install-deps.sh --peers
	@$(PYTHON) bench/all.py --build $(RELEASE) $(if $(BENCH_ONLY),--only '$(BENCH_ONLY)') $(if $(BENCH_QUICK),--quick)

fuzz: deps  ## Run each fuzz target for a minute (FUZZ_SECONDS); what it finds goes to fuzz/crashes
	@test -f build-fuzz/build.ninja || cmake --preset fuzz >$(BUILD)/configure.log || { cat $(BUILD)/configure.log; exit 1; }
	@ninja -C build-fuzz fuzz_targets
	@$(PYTHON) tools/run_fuzz.py --build build-fuzz

soak: all  ## Run the long tests: many sandboxes at once, thousands in a row
	@$(RUN_TESTS) --label soak

up: all  ## Build, then start the parts in the foreground (glovebox up); ARGS= are passed on
	@$(BUILD)/bin/glovebox up $(ARGS)

format: deps  ## Lay out all C++ with clang-format 19
	@clang-format-19 -i $(FORMATTED)

check: deps  ## Check layout, include rules, file sizes and formatting
	@$(PYTHON) tools/check_tree.py
	@clang-format-19 --dry-run -Werror $(FORMATTED)
	@echo "include rules, file sizes, formatting: ok"

install: PROGRAMS = bin/glovebox bin/glovebox-hand bin/glovebox-image bin/glovebox-unpack bin/glovebox-worker
bench: PROGRAMS = bin/glovebox bin/glovebox-hand bin/glovebox-image bin/glovebox-unpack bin/bench_bare
install: release  ## Install the optimized programs below PREFIX (default /usr/local; DESTDIR is honoured)
	@install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/doc/glovebox $(DESTDIR)$(BASH_COMPLETIONS) $(DESTDIR)$(ZSH_COMPLETIONS)
	@install -m 0755 $(addprefix $(RELEASE)/,$(PROGRAMS)) $(DESTDIR)$(PREFIX)/bin/
	@install -m 0644 README.md LICENSE $(DESTDIR)$(PREFIX)/share/doc/glovebox/
	@$(RELEASE)/bin/glovebox completion bash >$(DESTDIR)$(BASH_COMPLETIONS)/glovebox
	@$(RELEASE)/bin/glovebox completion zsh >$(DESTDIR)$(ZSH_COMPLETIONS)/_glovebox
	@echo "installed $(DESTDIR)$(PREFIX)/bin/glovebox"

.PHONY: release
release: deps
	@test -f $(RELEASE)/build.ninja || cmake --preset release >$(BUILD)/configure.log || { cat $(BUILD)/configure.log; exit 1; }
	@ninja -C $(RELEASE) $(PROGRAMS)

clean:  ## Remove everything that was built
	@rm -rf build build-asan build-fuzz build-vm $(RELEASE)

help:  ## This list
	@sed -n 's/^\([a-z-]*\)[a-z -]*:[^#]*## /\1\t/p' $(MAKEFILE_LIST) | sed 's/^all\t/(none)\t/' | \
		awk -F'\t' '{ printf "  make %-22s %s\n", $$1 == "(none)" ? "" : $$1, $$2 }'
