# codex-lua. `make help` says what there is.

# ---- Settings -------------------------------------------------------------------------------------
VERSION := 0.1.0
PREFIX  ?= /usr/local
DESTDIR ?=
CC      ?= gcc
LUAC    ?= luac5.4
BUILD   ?= build
CFLAGS  ?= -O2 -g
WERROR  ?= -Werror
SANITIZE ?=

# ---- No need to change below ----------------------------------------------------------------------
WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings
PKG  := lua5.4-luv lua5.4 libuv libcjson
INC  := $(patsubst -I%,-isystem %,$(shell pkg-config --cflags-only-I $(PKG) 2>/dev/null)) \
        -isystem /usr/include/lua5.4
LIBS := $(shell pkg-config --libs $(PKG) 2>/dev/null)
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -fPIC $(WARN) $(WERROR) $(CFLAGS) $(SANITIZE) -Ihost -Ibindings \
             $(INC) -DCX_VERSION='"$(VERSION)"' -DCX_PREFIX='"$(PREFIX)"' -MMD -MP

CORE     := err buf log lines json spawn proc paths attach boot host
BOOT     := async error
HOST_OBJ := $(CORE:%=$(BUILD)/host/%.o) $(BOOT:%=$(BUILD)/boot/%.o)
BIND_OBJ := $(patsubst bindings/%.c,$(BUILD)/bindings/%.o,\
              $(filter-out bindings/httpd.c bindings/edit.c,$(wildcard bindings/*.c)))
LIB_OBJ  := $(HOST_OBJ) $(BIND_OBJ)

all: $(BUILD)/codex-lua $(BUILD)/libcodexlua.so

$(BUILD)/codex-lua: $(BUILD)/host/main.o $(BUILD)/libcodexlua.a
	$(CC) $(SANITIZE) -o $@ $< $(BUILD)/libcodexlua.a -Wl,-E $(LIBS)

$(BUILD)/libcodexlua.a: $(LIB_OBJ)
	rm -f $@ && ar rcs $@ $^

$(BUILD)/libcodexlua.so: $(LIB_OBJ)
	$(CC) $(SANITIZE) -shared -Wl,-soname,libcodexlua.so.0 -o $@ $^ $(LIBS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

# Lua that every script needs is compiled into the program (host/boot.c).
$(BUILD)/boot/%.o: lua/codex/%.lua
	@mkdir -p $(@D)
	$(LUAC) -o $(@:.o=.luac) $<
	cd $(@D) && ld -r -b binary -z noexecstack -o $*.o $*.luac

clean:
	rm -rf $(BUILD)

-include $(LIB_OBJ:.o=.d) $(BUILD)/host/main.d
.PHONY: all clean
