# codex-lua. `make help` says what there is.

# ---- Settings -------------------------------------------------------------------------------------
VERSION := 0.1.0
PREFIX  ?= /usr/local
DESTDIR ?=
BUILD   ?= build
PROGRAM ?= $(BUILD)/codex-lua
CC       = $(CROSS)gcc
# Of another machine: what its tools are called, where its files are, what runs its programs.
CROSS   ?=
SYSROOT ?=
RUNNER  ?=
LUA     ?= lua5.4
CFLAGS  ?= -O2 -g -D_FORTIFY_SOURCE=2
LDFLAGS ?=
WERROR  ?= -Werror
SPECS   ?= tests
BUSTED  ?=
JOBS    ?=
SPEC_TIMEOUT ?=
V       ?= 0

PACKAGES      = pkg-config libc6-dev lua5.4 liblua5.4-dev lua-luv-dev libuv1-dev libcjson-dev \
                libmicrohttpd-dev libcurl4-openssl-dev libedit-dev libwebsockets-dev \
                libwebsockets-evlib-uv lua-argparse lua-luaossl git ca-certificates lua-busted \
                $(if $(shell command -v npm),,nodejs npm) \
                tmux procps openssl locales python3 python3-gi dbus-daemon libglib2.0-bin libnotify-bin
LINT_PACKAGES = clang-format clang-tidy lua-check

# ---- Names ----------------------------------------------------------------------------------------
WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings
PKG  := lua5.4-luv lua5.4 libuv
LIBS := $(shell pkg-config --libs $(PKG) 2>/dev/null) -lm
# The program has Lua inside, as Debian's lua5.4 does, and libuv, which saves a seventh of its start:
# all of them, since C modules call what we do not. The library shares those of whoever embeds it.
PROGRAM_LIBS := -Wl,-Bstatic -llua5.4-luv -Wl,--whole-archive -llua5.4 -luv_a -Wl,--no-whole-archive \
                -Wl,-Bdynamic -lm -ldl
INC  := $(patsubst -I%,-isystem %,$(shell pkg-config --cflags-only-I $(PKG) 2>/dev/null)) \
        -isystem $(SYSROOT)/usr/include/lua5.4
DIALECT    := -std=c11 -D_GNU_SOURCE -Ihost -Ibindings $(INC) \
              -DCX_VERSION='"$(VERSION)"' -DCX_PREFIX='"$(PREFIX)"'
# A program that holds keys is built so that a mistake in it is harder to use.
HARDEN     := -fstack-protector-strong
# What the compiler and the linker need to know of another machine.
FOREIGN    := $(SYSROOT:%=--sysroot=%)
ALL_CFLAGS  = $(FOREIGN) $(DIALECT) -fPIC -fno-semantic-interposition $(HARDEN) $(WARN) $(WERROR) \
              $(CFLAGS) $(SANITIZE)
ALL_LDFLAGS = $(FOREIGN) -Wl,-z,relro,-z,now $(LDFLAGS) $(SANITIZE)

CORE     := platform keeper err buf pool naming redact secrets log lines token json scan message rpc \
            envelope spawn watch watchdog witness outgoing children proc pipe link paths visit attach boot \
            state script host
BOOT     := async base/class base/environment base/uuid binary capability command error events exec \
            files flags guard hook hooks/delivery instance json log notify options plugin proc \
            sessions stream toml wakeup
LOADABLE := httpd http edit ws
HOST_OBJ := $(CORE:%=$(BUILD)/host/%.o) $(BOOT:%=$(BUILD)/boot/%.o)
BIND_OBJ := $(patsubst bindings/%.c,$(BUILD)/bindings/%.o,\
              $(filter-out $(LOADABLE:%=bindings/%.c),$(wildcard bindings/*.c)))
LIB_OBJ  := $(HOST_OBJ) $(BIND_OBJ)
MODULES  := $(LOADABLE:%=$(BUILD)/lib/codex/core/%.so)
C_FILES  := $(wildcard host/*.[ch] bindings/*.[ch] tests/core/*.[ch] tests/fuzz/*.c \
              tests/torture/*.c examples/*.c)
CORE_TESTS := $(patsubst tests/core/%.c,$(BUILD)/core/%,$(wildcard tests/core/*_test.c))

# What tests run in: nothing of the user's is read or written, nobody's account is used.
HOME_DIR = $(abspath $(BUILD))/home
TEST_ENV = env -u OPENAI_API_KEY -u CODEX_API_KEY -u CODEX_LUA_LOG -u DBUS_SESSION_BUS_ADDRESS \
           HOME="$(HOME_DIR)" CODEX_HOME="$(HOME_DIR)/.codex" \
           XDG_CONFIG_HOME="$(HOME_DIR)/.config" XDG_STATE_HOME="$(HOME_DIR)/.local/state" \
           XDG_DATA_HOME="$(HOME_DIR)/.local/share" XDG_CACHE_HOME="$(HOME_DIR)/.cache" \
           XDG_RUNTIME_DIR="$(HOME_DIR)/run"
RUN = mkdir -p -m 700 "$(HOME_DIR)/.codex" "$(HOME_DIR)/run"; $(TEST_ENV)

SAY_0 = @echo '  $(1)	$(@:$(BUILD)/%=%)';
say   = $(SAY_$(V))

# ---- Build ----------------------------------------------------------------------------------------
all: $(PROGRAM) $(BUILD)/libcodexlua.so $(MODULES) ## the program, library and modules

$(PROGRAM): $(BUILD)/host/main.o $(BUILD)/host/supervisor.o $(BUILD)/libcodexlua.a
	$(call say,LINK)$(CC) -pie $(ALL_LDFLAGS) -o $@.new $(filter %.o,$^) $(BUILD)/libcodexlua.a \
	  -Wl,-E $(PROGRAM_LIBS)
	@mv -f $@.new $@

$(BUILD)/libcodexlua.a: $(LIB_OBJ)
	$(call say,AR)rm -f $@ && ar rcs $@ $^

$(BUILD)/libcodexlua.so: $(LIB_OBJ) host/codexlua.map
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -shared -Wl,-soname,libcodexlua.so.0 \
	  -Wl,--version-script=host/codexlua.map -o $@ $(LIB_OBJ) $(LIBS)
	@ln -sf $(@F) $@.0

# Modules are opened on first require: what they are linked with costs no script its start. They need
# nothing of whoever opens them but Lua and libuv, which the program has inside and others share. The
# editing library, and OpenSSL below libwebsockets and libcurl, keep memory for good: they must stay
# (nodelete).
MODULE_OBJ := $(BUILD)/bindings/bind.o $(BUILD)/host/buf.o $(BUILD)/host/err.o
MODULE_LIBS := -Wl,--version-script=bindings/module.map $(shell pkg-config --libs lua5.4 libuv 2>/dev/null)

SOCKET := socket platform keeper token

$(BUILD)/lib/codex/core/httpd.so: $(BUILD)/host/httpd.o $(BUILD)/bindings/httpd.o $(MODULE_OBJ)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -shared -o $@ $^ $(MODULE_LIBS) -lmicrohttpd

$(BUILD)/lib/codex/core/http.so: $(BUILD)/host/http.o $(BUILD)/bindings/http.o $(MODULE_OBJ)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -shared -Wl,-z,nodelete -o $@ $^ $(MODULE_LIBS) -lcurl

$(BUILD)/lib/codex/core/edit.so: $(BUILD)/bindings/edit.o $(MODULE_OBJ)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -shared -Wl,-z,nodelete -o $@ $^ $(MODULE_LIBS) -ledit

$(BUILD)/lib/codex/core/ws.so: $(BUILD)/host/ws.o $(BUILD)/host/peer.o $(BUILD)/bindings/ws.o \
                             $(SOCKET:%=$(BUILD)/host/%.o) $(MODULE_OBJ)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -shared -Wl,-z,nodelete -o $@ $^ $(MODULE_LIBS) -lwebsockets

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Lua that every script needs is compiled into the program (host/boot.c), under a name that no file
# has (bindings/limit.c).
$(BUILD)/boot/%.o: lua/codex/%.lua host/boot.lua $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,LUA)$(LUA) host/boot.lua $< $(@:.o=.luac) && \
	  cd $(BUILD)/boot && $(CROSS)ld -r -b binary -z noexecstack -o $*.o $*.luac && \
	  $(CROSS)objcopy --rename-section .data=.rodata,alloc,load,readonly,data,contents $*.o

# Changes when a setting does, so that everything is built anew.
$(BUILD)/flags: FORCE
	@pkg-config --exists $(PKG) 2>/dev/null || \
	  { echo "Libraries are missing. 'make deps' installs: $(strip $(PACKAGES))" >&2; exit 1; }
	@mkdir -p $(@D)
	@echo "$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS)" | cmp -s - $@ || \
	  echo "$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS)" > $@

# ---- What is needed -------------------------------------------------------------------------------
# need(packages): installs those that are missing.
need = @missing=; for p in $(1); do \
    case "$$(dpkg-query -Wf '$${db:Status-Status}' $$p 2>/dev/null)" in installed) ;; \
    *) missing="$$missing $$p";; esac; done; \
  [ -z "$$missing" ] || { echo "installing$$missing"; sudo=; [ "$$(id -u)" = 0 ] || \
      sudo=$$(command -v sudo || echo false); [ -t 0 ] || sudo="$${sudo:+$$sudo -n}"; \
    command -v apt-get >/dev/null && $$sudo apt-get update -qq && \
    $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      $$missing >/dev/null || \
    { echo "These packages must be installed by hand:$$missing" >&2; exit 1; }; }

PEERS := tests/peers/node_modules/.package-lock.json

deps: ## installs Debian packages and the Codex programs that tests run against
	$(call need,$(PACKAGES))
	@$(MAKE) -s --no-print-directory $(PEERS)

$(PEERS): tests/peers/package-lock.json
	cd tests/peers && npm ci --no-progress && touch node_modules/.package-lock.json

# ---- Test -----------------------------------------------------------------------------------------
test: deps ## everything: C tests and specs; SPECS=tests/proc_spec.lua for some, BUSTED for options, JOBS=1
	@$(MAKE) --no-print-directory all core-tests
	@$(MAKE) --no-print-directory suite

VERSIONS := tests/versions/node_modules/.package-lock.json
versions: deps ## every feature on older releases of Codex, which it downloads
	@$(MAKE) -s --no-print-directory $(VERSIONS)
	@$(MAKE) --no-print-directory all
	@$(MAKE) --no-print-directory suite SPECS=tests/versions/features.lua

$(VERSIONS): tests/versions/package-lock.json
	cd tests/versions && npm ci --no-progress && touch node_modules/.package-lock.json

core-tests: $(CORE_TESTS)
	@for t in $(CORE_TESTS); do $(RUNNER) $$t || exit 1; done

suite: # the specs alone, as they are built now
	@$(RUN) INTERRUPTS="$(INTERRUPTS)" WRAP="$(WRAP)" JOBS="$(JOBS)" SPEC_TIMEOUT="$(SPEC_TIMEOUT)" \
	  $(BUILD)/codex-lua tests/run.lua $(BUSTED) $(SPECS)

$(BUILD)/core/%_test: tests/core/%_test.c tests/core/test.h $(BUILD)/libcodexlua.a
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(ALL_CFLAGS) -o $@ $< $(BUILD)/libcodexlua.a $(LIBS)

check: ## lint, the C tests in other builds, and test
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory builds
	@$(MAKE) --no-print-directory test

lint: ## clang-format, clang-tidy, luacheck
	$(call need,$(LINT_PACKAGES))
	@echo "clang-format"; clang-format --dry-run -Werror $(C_FILES)
	@echo "clang-tidy"; printf '%s\n' $(filter %.c,$(C_FILES)) | xargs -P 2 -n 1 sh -c \
	  'clang-tidy --quiet "$$@" -- $(subst ','\'',$(DIALECT)) 2>/dev/null' tidy
	@echo "luacheck"; luacheck -q $(wildcard host lua scripts notify tests examples) --exclude-files 'tests/peers/**'

format: ## formats the C code
	clang-format -i $(C_FILES)

SAN    := -fsanitize=address,undefined -fno-sanitize-recover=all
ASAN    = UBSAN_OPTIONS=print_stacktrace=1 ASAN_OPTIONS=quarantine_size_mb=8 \
          $(MAKE) --no-print-directory BUILD=build/asan SANITIZE="$(SAN)" \
          CFLAGS="-O1 -g -fno-omit-frame-pointer"
# Not those where nearly all time is Codex's own; they run in `make test`.
LIVE       := $(wildcard tests/*_codex_spec.lua) $(foreach s,approval_old_codex daemon differential \
                examples flags foreign install login matrix setup torture,tests/$(s)_spec.lua)
ASAN_SPECS  = $(if $(filter tests,$(SPECS)),$(filter-out $(LIVE),$(wildcard tests/*_spec.lua)),$(SPECS))
asan: deps ## the tests under AddressSanitizer and UBSan, in build/asan
	@$(ASAN) all core-tests
	@$(ASAN) suite SPECS="$(ASAN_SPECS)"

misuse: deps ## core modules called with whatever Lua can hold: CORE_CALLS=20000 CORE_RUNS=20 CORE_SEED=1
	@$(ASAN) all
	@CORE_CALLS=$(or $(CORE_CALLS),20000) CORE_RUNS=$(or $(CORE_RUNS),20) $(ASAN) suite \
	  SPECS=tests/core_modules_spec.lua BUSTED="--filter='whatever is called'" SPEC_TIMEOUT=86400

# Several hosts on several threads. Lua and libuv come from the system: what they do themselves is not
# looked at, but who allocates, locks and frees is.
TSAN       := $(MAKE) --no-print-directory BUILD=build/tsan SANITIZE="-fsanitize=thread" \
              CFLAGS="-O1 -g -fno-omit-frame-pointer"
TSAN_TESTS := $(patsubst %,build/tsan/core/%_test,embedder host script)
tsan: deps ## the tests of hosts, on several threads, under ThreadSanitizer, in build/tsan
	@$(TSAN) $(TSAN_TESTS)
	@for t in $(TSAN_TESTS); do CX_SLOW=1 \
	  TSAN_OPTIONS="halt_on_error=1 suppressions=tests/core/tsan.supp" $$t || exit 1; done

# Each survives what the usual build survives by chance.
builds: deps ## the C tests as other builds have them: -O0, without inlining, by clang, portable
	$(call need,clang)
	@$(MAKE) --no-print-directory BUILD=build/O0 CFLAGS="-O0 -g" variant
	@$(MAKE) --no-print-directory BUILD=build/noinline CFLAGS="-O2 -g -fno-inline" variant
	@$(MAKE) --no-print-directory BUILD=build/clang CC=clang variant
	@$(PORTABLE) variant

variant: $(PROGRAM) core-tests
	@$(BUILD)/codex-lua -e "os.exit(0)" && $(BUILD)/codex-lua --version

# As on a system that has nothing of what host/platform.h asks for.
PORTABLE := $(MAKE) --no-print-directory BUILD=build/portable CFLAGS="-O1 -g -DCX_PORTABLE"
portable: deps ## the C tests and the specs of the spine with POSIX alone; SPECS=tests/ for all
	@$(PORTABLE) all core-tests
	@$(PORTABLE) suite SPECS="$(if $(filter tests,$(SPECS)),$(SPINE),$(SPECS))"

# Debian's packages for that machine are unpacked in build/, not installed. A script of its name runs
# the program, and is the program to itself, too: the system runs none of a foreign machine.
ARM_ROOT     := $(CURDIR)/build/arm64/root
ARM_PACKAGES := libc6-dev,libgcc-12-dev,liblua5.4-dev,lua-luv-dev,libuv1-dev,lua-busted
ARM_PROGRAM  := $(CURDIR)/build/arm64/codex-lua.arm64
ARM           = $(MAKE) --no-print-directory BUILD=build/arm64 PROGRAM=$(ARM_PROGRAM) \
                CROSS=aarch64-linux-gnu- SYSROOT=$(ARM_ROOT) CFLAGS="$(CFLAGS) -DCX_NO_PROC_EXE" \
                RUNNER="qemu-aarch64 -L $(ARM_ROOT)"
ARM_LIBRARIES = PKG_CONFIG_SYSROOT_DIR=$(ARM_ROOT) \
      PKG_CONFIG_LIBDIR=$(ARM_ROOT)/usr/lib/aarch64-linux-gnu/pkgconfig:$(ARM_ROOT)/usr/share/pkgconfig
arm64: deps ## the C tests and the specs of the spine on ARM, by qemu, with packages for that in build/
	$(call need,gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user mmdebstrap)
	@[ -e $(ARM_ROOT) ] || { . /etc/os-release; mkdir -p build/arm64; rm -rf $(ARM_ROOT).new; \
	  mmdebstrap --quiet --variant=extract --architectures=arm64 --include=$(ARM_PACKAGES) \
	    "$$VERSION_CODENAME" $(ARM_ROOT).new && (cd $(ARM_ROOT).new && rm -rf dev etc tmp var) && \
	  mv $(ARM_ROOT).new $(ARM_ROOT); }
	@CX_SLOW=1 $(ARM_LIBRARIES) $(ARM) $(ARM_PROGRAM) core-tests
	@printf '#!/bin/sh\nexec qemu-aarch64 -L "%s" -0 "$$0" "%s" "$$@"\n' $(ARM_ROOT) $(ARM_PROGRAM) \
	  > build/arm64/codex-lua && chmod +x build/arm64/codex-lua
	@CX_SLOW=1 $(ARM) suite SPECS="$(if $(filter tests,$(SPECS)),$(SPINE),$(SPECS))" SPEC_TIMEOUT=3600

interrupts: deps ## INTERRUPTS=20000 runs that are interrupted at any moment
	@$(MAKE) --no-print-directory all
	@$(MAKE) --no-print-directory suite SPECS=tests/host_spec.lua \
	  BUSTED="--filter='at any moment'" INTERRUPTS=$(or $(INTERRUPTS),20000)

SPINE    := $(foreach s,async proc json lines link log error options host layers,tests/$(s)_spec.lua)
VALGRIND := valgrind -q --child-silent-after-fork=yes --error-exitcode=9 --leak-check=full \
            --errors-for-leak-kinds=definite
valgrind: deps ## C tests and the specs of the spine under valgrind
	$(call need,valgrind)
	@$(MAKE) --no-print-directory all $(CORE_TESTS)
	@for t in $(CORE_TESTS); do CX_SLOW=1 $(VALGRIND) $$t || exit 1; done
	@CX_SLOW=1 $(MAKE) --no-print-directory suite WRAP="$(VALGRIND)" SPECS="$(SPINE)" \
	  SPEC_TIMEOUT=3600

FUZZ_SECONDS ?= 30
FUZZED       := lines json scan parse rpc http ws
PARSERS      := $(patsubst %,host/%.c,lines token json scan message rpc envelope buf err) \
                $(patsubst %,bindings/%.c,json parse write bind)
# What a target is built of, where that is not the parsers.
FUZZ_OF_http := $(patsubst %,host/%.c,http buf err) -lcurl -luv
FUZZ_OF_ws   := $(patsubst %,host/%.c,ws peer token socket platform buf err) -lwebsockets -luv
FUZZ_OF       = $(or $(FUZZ_OF_$(1)),$(PARSERS) -lcjson -llua5.4)
fuzz: ## libFuzzer on the parsers, FUZZ_SECONDS each; FUZZED=scan for one
	$(call need,clang libclang-rt-dev)
	@mkdir -p $(BUILD)/fuzz
	@$(foreach t,$(FUZZED),mkdir -p $(BUILD)/fuzz/$(t).corpus && \
	  clang -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all $(DIALECT) \
	    -o $(BUILD)/fuzz/$(t) tests/fuzz/$(t)_fuzz.c $(call FUZZ_OF,$(t)) && \
	  $(BUILD)/fuzz/$(t) -max_total_time=$(FUZZ_SECONDS) -verbosity=0 -print_final_stats=1 \
	    -artifact_prefix=$(BUILD)/fuzz/$(t)- $(BUILD)/fuzz/$(t).corpus &&) true

differential: deps ## mutated messages to Codex and through the launcher; MUTANTS=100000 SEED=1
	@$(MAKE) --no-print-directory all
	@$(RUN) $(BUILD)/codex-lua tests/differential/run.lua

json-differential: deps ## documents that others read, too: DOCUMENTS=100000 SEED=1
	@$(MAKE) --no-print-directory all
	@$(RUN) $(BUILD)/codex-lua tests/json/run.lua

matrix: deps ## whatever goes wrong, by policy: the table of what Codex was allowed
	@$(MAKE) --no-print-directory all
	@$(RUN) $(BUILD)/codex-lua tests/differential/table.lua

torture: deps ## every system call of a lifecycle hook fails, every signal comes: SEED=1 CODEX_RUNS=20
	@$(MAKE) --no-print-directory all
	@$(RUN) $(BUILD)/codex-lua tests/torture/run.lua

# ---- Run ------------------------------------------------------------------------------------------
bench: deps ## measures start-up, children, parsing
	$(call need,lua-cjson)
	@$(MAKE) --no-print-directory all
	@$(RUN) $(BUILD)/codex-lua tests/bench/run.lua

demo: deps ## a review of a real repository by real Codex and a scripted model
	@$(MAKE) --no-print-directory all
	@$(RUN) CODEX_BINARY="$(CURDIR)/tests/peers/node_modules/codex-latest/bin/codex.js" \
	  $(BUILD)/codex-lua examples/demo.lua

# ---- Install --------------------------------------------------------------------------------------
D     = $(DESTDIR)$(PREFIX)
SHARE = $(D)/share
FILES = $(D)/bin/codex-lua $(D)/include/codex_lua.h $(D)/lib/libcodexlua.a $(D)/lib/libcodexlua.so \
        $(D)/lib/libcodexlua.so.0 $(D)/lib/pkgconfig/codex-lua.pc $(SHARE)/man/man1/codex-lua.1 \
        $(SHARE)/bash-completion/completions/codex-lua $(SHARE)/zsh/site-functions/_codex-lua \
        $(SHARE)/fish/vendor_completions.d/codex-lua.fish
# Folders that uninstall takes away when nothing else is in them.
EMPTY = lib/pkgconfig share/man/man1 share/bash-completion/completions share/bash-completion \
        share/zsh/site-functions share/zsh share/fish/vendor_completions.d share/fish
optional = if [ -e $(1) ]; then install -D -m 644 $(1) $(2); fi

install: all ## to PREFIX, below DESTDIR
	install -D $(BUILD)/codex-lua $(D)/bin/codex-lua
	install -D -m 644 host/codex_lua.h $(D)/include/codex_lua.h
	install -D -m 644 $(BUILD)/libcodexlua.a $(D)/lib/libcodexlua.a
	install -D -m 644 $(BUILD)/libcodexlua.so $(D)/lib/libcodexlua.so.0
	ln -sf libcodexlua.so.0 $(D)/lib/libcodexlua.so
	mkdir -p $(D)/lib/pkgconfig $(D)/lib/codex-lua/codex/core $(SHARE)/codex-lua
	printf '%s\n' 'Name: codex-lua' 'Description: Lua that drives Codex' 'Version: $(VERSION)' \
	  'Requires: lua5.4 libuv' 'Requires.private: lua5.4-luv' \
	  'Libs: -L$(PREFIX)/lib -lcodexlua' 'Cflags: -I$(PREFIX)/include' \
	  > $(D)/lib/pkgconfig/codex-lua.pc
	install -m 644 $(MODULES) $(D)/lib/codex-lua/codex/core
	cp -R $(wildcard lua scripts notify) $(SHARE)/codex-lua/
	@$(call optional,host/codex-lua.1,$(SHARE)/man/man1/codex-lua.1)
	@$(call optional,host/completion.bash,$(SHARE)/bash-completion/completions/codex-lua)
	@$(call optional,host/completion.zsh,$(SHARE)/zsh/site-functions/_codex-lua)
	@$(call optional,host/completion.fish,$(SHARE)/fish/vendor_completions.d/codex-lua.fish)
	@[ -n "$(DESTDIR)" ] || ldconfig 2>/dev/null || true

uninstall: ## takes away what install put there
	rm -rf $(FILES) $(D)/lib/codex-lua $(SHARE)/codex-lua
	@rmdir $(EMPTY:%=$(D)/%) 2>/dev/null || true

# ---- Other ----------------------------------------------------------------------------------------
comma := ,
words = $(foreach w,"$(CC)" $(patsubst %,"%",$(subst ',,$(subst ",\",$(ALL_CFLAGS)))),$(w)$(comma))
entry = {"directory":"$(CURDIR)","file":"$(1)","arguments":[$(words)"-c","$(1)"]}
compile_commands.json: Makefile ## for editors
	$(file >$@,[$(subst } {,}$(comma){,$(foreach f,$(filter %.c,$(C_FILES)),$(call entry,$(f))))])

clean: ## removes build/
	rm -rf $(BUILD)

help: ## this list
	@sed -n 's/^\([a-z_.]*\):[^#]*## \(.*\)/\1	\2/p' Makefile | expand -t 24

FORCE:
-include $(wildcard $(BUILD)/host/*.d $(BUILD)/bindings/*.d $(BUILD)/core/*.d)
.PHONY: all deps test versions core-tests suite check lint format asan tsan valgrind fuzz differential matrix \
        torture misuse builds portable arm64 variant interrupts bench demo install uninstall clean help FORCE
