# Restante: smtpd, pop3d and pop-admin.  One Makefile, no recursion.
#
#   make            the three programs, in $(BUILD)
#   make check      every test, or with ONLY=TEXT those in whose name it is
#                   make SAN=address,undefined check; check-concurrent: what has threads
#   make unit       the unit tests      make unit-mail: those of one area
#   make lint       who includes whom, static analysis, documents against tests
#   make format     the sources as .clang-format has them
#   make fuzz       each fuzzer for FUZZ_SECONDS; fuzz-bugs: each finds the bug that is kept for it;
#                   fuzz-coverage: the branches that they reach
#   make coverage   which branches make check takes
#   make crash      what a power cut at any instant leaves, opened and looked at; MUTATE=NAME: with
#                   a fault put in, crash-mutations: with each
#   make damage     each file of a spool damaged in each way, under daemons that run and that do not
#   make faults     the n-th call of each kind fails in running programs, for each n
#   make failures   each call to the disk fails under the spool in each way, with each end after it
#   make bench      Restante beside other servers and the machine's limits; QUICK=1: in two minutes
#                   bench-growth: as mailboxes and spool grow; bench-upkeep: what expiry costs
#   make instructions  what a message costs in instructions, beside the kept counts; KEEP=1 keeps these
#   make kill       kill -9 of daemons and pop-admin under load, KILLS times; VICTIM=NAME: of one kind
#   make soak       MINUTES of load and faults; in the end memory, descriptors, log and disk are level
#   make demo       a throw-away site that takes and serves one message
#   make install    PREFIX and DESTDIR are heeded
#
# V=1 shows the commands.  BUILD names another folder for what is built;
# each SAN= has its own by default, so that they stand side by side.

SAN     ?=
comma   := ,
BUILD   ?= build$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))
PREFIX  ?= /usr/local
DESTDIR ?=
WERROR  ?=
FUZZ_SECONDS ?= 60

PACKAGES := sqlite3 openssl libcrypt

# A sanitizer's report needs lines and no variables; compiled so, its build takes half as long.
CFLAGS   ?= $(if $(SAN),-O1 -g1,-O2 -g)
STD      := -std=c11 -D_GNU_SOURCE
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings \
            -Wformat=2 -Wpointer-arith -Wvla -Wundef $(if $(WERROR),-Werror)
HARDEN   := -fPIE -fstack-protector-strong $(if $(SAN),,-D_FORTIFY_SOURCE=2)
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all)
CPPFLAGS_ALL = $(STD) -Iinclude -I. -I$(BUILD)/gen $(shell pkg-config --cflags $(PACKAGES)) $(CPPFLAGS)
CFLAGS_ALL   = $(WARN) $(HARDEN) $(SANFLAGS) -pthread $(CFLAGS)
LDFLAGS_ALL  = -pie -Wl,-z,relro,-z,now -pthread $(SANFLAGS) $(LDFLAGS)
LIBS         = $(shell pkg-config --libs $(PACKAGES))

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-8s %s\n' $(1) $(2))

# A floor is a folder under common/ and becomes one archive.  The order is that
# of linking: a floor stands before those that it uses.
FLOORS   := spool net conf mail base
PROGRAMS := smtpd pop3d pop-admin

sources = $(wildcard $(1)/*.c)
objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

floor_lib = $(BUILD)/lib/lib$(1).a
ALL_LIBS := $(foreach f,$(FLOORS),$(call floor_lib,$(f)))

.PHONY: all
all: $(addprefix $(BUILD)/,$(PROGRAMS))

# A floor with no source yet is no archive.
define floor_rule
$(call floor_lib,$(1)): $(call objects,$(call sources,common/$(1)))
	$$(call say,AR,$$@)
	$(Q)mkdir -p $$(@D) && rm -f $$@ && ar rcs $$@ $$^
endef
$(foreach f,$(FLOORS),$(eval $(call floor_rule,$(f))))

# A program is main.c and the rest; the rest is an archive too, so that tests
# can drive it.
define program_rule
$(BUILD)/lib/prog-$(1).a: $(call objects,$(filter-out $(1)/main.c,$(call sources,$(1))))
	$$(call say,AR,$$@)
	$(Q)mkdir -p $$(@D) && rm -f $$@ && ar rcs $$@ $$^
$(BUILD)/$(1): $(BUILD)/obj/$(1)/main.o $(BUILD)/lib/prog-$(1).a $(ALL_LIBS)
	$$(call say,LINK,$$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $$@ $$^ $(LIBS)
endef
$(foreach p,$(PROGRAMS),$(eval $(call program_rule,$(p))))

$(BUILD)/obj/%.o: %.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

# The schema's steps, in order of their names, are built in as C strings.
SCHEMA_STEPS := $(sort $(wildcard schema/*.sql))
$(BUILD)/gen/schema_steps.h: $(SCHEMA_STEPS) schema/embed.sh
	$(call say,GEN,$@)
	$(Q)mkdir -p $(@D) && sh schema/embed.sh $(SCHEMA_STEPS) > $@.tmp && mv $@.tmp $@
$(call objects,$(call sources,common/spool)): $(BUILD)/gen/schema_steps.h

# The floors and the programs' own archives, without the programs.
.PHONY: libs
libs: $(ALL_LIBS) $(foreach p,$(PROGRAMS),$(BUILD)/lib/prog-$(p).a)

# --- tests -----------------------------------------------------------------
# tests/unit/AREA/test_x.c is one program.  It is linked with its area and
# what lies below, so that a floor is tested without what stands on it.
UNIT_LIBS_base  := base
UNIT_LIBS_mail  := mail base
UNIT_LIBS_conf  := conf base
UNIT_LIBS_net   := net base
UNIT_LIBS_spool := spool mail base
# An archive, so that a test gets of it only what it names.
TEST_LIB        := $(BUILD)/lib/libtest.a
CHECK_LIBS       = $(shell pkg-config --libs check)

$(TEST_LIB): $(call objects,$(call sources,tests/lib))
	$(call say,AR,$@)
	$(Q)mkdir -p $(@D) && rm -f $@ && ar rcs $@ $^

define unit_rule
$(BUILD)/tests/unit/$(1)/%: $(BUILD)/obj/tests/unit/$(1)/%.o $(TEST_LIB) $(2)
	$$(call say,LINK,$$@)
	$(Q)mkdir -p $$(@D) && $(CC) $(LDFLAGS_ALL) -o $$@ $$^ $$(CHECK_LIBS) $(LIBS)
UNIT_TESTS_$(1) := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/$(1)/test_*.c))
UNIT_TESTS += $$(UNIT_TESTS_$(1))
.PHONY: unit-$(1)
unit-$(1): $$(UNIT_TESTS_$(1))
	$(Q)sh tests/run-units.sh $(BUILD) $$(UNIT_TESTS_$(1))
endef
$(foreach a,base mail conf net spool,$(eval $(call unit_rule,$(a),$(foreach f,$(UNIT_LIBS_$(a)),$(call floor_lib,$(f))))))
$(foreach p,$(PROGRAMS),$(eval $(call unit_rule,$(p),$(BUILD)/lib/prog-$(p).a $(ALL_LIBS))))

.PHONY: unit
unit: $(UNIT_TESTS)
	$(Q)sh tests/run-units.sh $(BUILD) $(UNIT_TESTS)

.SECONDARY:

-include tests/tests.mk
-include $(shell find $(BUILD)/obj $(BUILD)/fuzz/obj -name '*.d' 2>/dev/null)

# What it costs to take mail away.  SIZES names a folder of mail whose sizes are taken.
$(BUILD)/tests/bench/upkeep: $(BUILD)/obj/tests/bench/upkeep.o $(ALL_LIBS)
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) -lm

.PHONY: bench-upkeep
bench-upkeep: $(BUILD)/tests/bench/upkeep
	$(Q)rm -rf $(BUILD)/bench-spool && $< $(if $(SIZES),-s $(SIZES)) $(BUILD)/bench-spool; \
	    rc=$$?; rm -rf $(BUILD)/bench-spool; exit $$rc
