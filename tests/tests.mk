# The tests' part of the Makefile: fuzzers, seed replay, the whole suite, lint, demo.

# --- fuzzers ---------------------------------------------------------------
# tests/fuzz/fuzz_X.c        LLVMFuzzerTestOneInput()
# tests/fuzz/X.dict          words for the fuzzer (may be missing)
# tests/fuzz/seeds/X/        inputs to begin with; also replayed by `make check`
# tests/fuzz/bugs/X.patch    an off-by-one that fuzz_X must find within a minute
#
# build/fuzz/fuzz_X is the fuzzer, made with clang; build/tests/fuzz/replay_X runs the
# seeds through the same function, with any compiler and any SAN.
#
# A fuzzer is linked with every floor and program, unless it says here that
# it needs less.
FUZZ_NAMES   := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_LIBS_address := mail base
FUZZ_LIBS_dot     := mail base
FUZZ_LIBS_bdat    := mail base
FUZZ_LIBS_header  := mail base
FUZZ_LIBS_sasl    := mail base
FUZZ_LIBS_esmtp   := mail base
FUZZ_LIBS_ini     := conf base
FUZZ_LIBS_config  := conf base
FUZZ_LIBS_record  := spool mail base
FUZZ_LIBS_alias   := spool mail base
FUZZ_LIBS_segment := spool mail base
FUZZ_LIBS_mbox    := prog-pop-admin mail base
FUZZ_LIBS_maildir := prog-pop-admin spool mail base
fuzz_libs = $(or $(FUZZ_LIBS_$(1)),$(addprefix prog-,$(PROGRAMS)) $(FLOORS))

FUZZ_CC    ?= clang
FUZZ_FLAGS := -O1 -g1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all \
              -fno-omit-frame-pointer -pthread

fuzz_objects = $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(1))

define fuzz_lib_rule
$(BUILD)/fuzz/lib/$(1).a: $(call fuzz_objects,$(2))
	$$(call say,AR,$$@)
	$(Q)mkdir -p $$(@D) && rm -f $$@ && ar rcs $$@ $$^
endef
$(foreach f,$(FLOORS),$(eval $(call fuzz_lib_rule,$(f),$(call sources,common/$(f)))))
$(foreach p,$(PROGRAMS),$(eval $(call fuzz_lib_rule,prog-$(p),$(filter-out $(p)/main.c,$(call sources,$(p))))))

$(BUILD)/fuzz/obj/%.o: %.c
	$(call say,FUZZCC,$<)
	$(Q)mkdir -p $(@D) && $(FUZZ_CC) $(CPPFLAGS_ALL) $(WARN) $(FUZZ_FLAGS) -MMD -MP -c -o $@ $<
$(call fuzz_objects,$(call sources,common/spool)): $(BUILD)/gen/schema_steps.h

define fuzz_rule
$(BUILD)/fuzz/fuzz_$(1): $(BUILD)/fuzz/obj/tests/fuzz/fuzz_$(1).o \
    $(patsubst %,$(BUILD)/fuzz/lib/%.a,$(call fuzz_libs,$(1)))
	$$(call say,LINK,$$@)
	$(Q)$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer -o $$@ $$^ $(LIBS)
$(BUILD)/tests/fuzz/replay_$(1): $(BUILD)/obj/tests/fuzz/fuzz_$(1).o \
    $(BUILD)/obj/tests/fuzz/replay_main.o \
    $(foreach l,$(call fuzz_libs,$(1)),$(BUILD)/lib/$(if $(filter prog-%,$(l)),,lib)$(l).a)
	$$(call say,LINK,$$@)
	$(Q)mkdir -p $$(@D) && $(CC) $(LDFLAGS_ALL) -o $$@ $$^ $(LIBS)
endef
$(foreach n,$(FUZZ_NAMES),$(eval $(call fuzz_rule,$(n))))

FUZZERS := $(addprefix $(BUILD)/fuzz/fuzz_,$(FUZZ_NAMES))
REPLAYS := $(addprefix $(BUILD)/tests/fuzz/replay_,$(FUZZ_NAMES))

# The functions that libFuzzer calls have no header.
$(BUILD)/obj/tests/fuzz/%.o $(BUILD)/fuzz/obj/tests/fuzz/%.o: WARN += -Wno-missing-prototypes

.PHONY: fuzzers fuzz fuzz-bugs
fuzzers: $(FUZZERS)
fuzz: $(FUZZERS)
	$(Q)sh tests/fuzz/run.sh $(BUILD)/fuzz $(FUZZ_SECONDS) $(FUZZ_NAMES)
# The branches that seeds and grown inputs reach, in a build of its own by clang.
.PHONY: fuzz-coverage
fuzz-coverage:
	$(Q)$(MAKE) -s BUILD=$(BUILD)/coverage CC=clang CFLAGS="-O1 -g -fprofile-instr-generate -fcoverage-mapping" LDFLAGS=-fprofile-instr-generate \
	    $(FUZZ_NAMES:%=$(BUILD)/coverage/tests/fuzz/replay_%)
	$(Q)sh tests/fuzz/coverage.sh $(BUILD)/coverage/tests/fuzz $(BUILD)/fuzz/corpus $(FUZZ_NAMES)
# Each kept bug, put into a copy of the tree, is found by its fuzzer.
fuzz-bugs:
	$(Q)sh tests/fuzz/bugs.sh $(BUILD)/fuzz-bugs $(FUZZ_SECONDS)

# --- power cuts ------------------------------------------------------------
# A load is played and noted; each disk that a power cut may leave is opened and looked at.
#   make crash                  CRASH_CUTS cut points, and of each all ends
#   make crash MUTATE=NAME      a fault is put in, and is to be found
#   make crash-mutations        each fault is found
# `make check` runs the same program for some seconds.
CRASH_CUTS ?= 2500
CRASH      := $(BUILD)/tests/crash/crash
CRASH_OBJECTS := $(call objects,$(call sources,tests/crash))
$(CRASH): $(CRASH_OBJECTS) $(call floor_lib,spool) $(call floor_lib,mail) $(call floor_lib,base)
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

.PHONY: crash crash-mutations
ifeq ($(MUTATE),)
crash: $(CRASH)
	$(Q)$< --cuts $(CRASH_CUTS) --ends 6 --rounds 16 --second 10
else
crash: crash-mutations
endif
crash-mutations: $(CRASH)
	$(Q)CC="$(CC)" CFLAGS="$(CPPFLAGS_ALL) $(CFLAGS_ALL)" LDFLAGS="$(LDFLAGS_ALL)" LIBS="$(LIBS)" \
	    sh tests/crash/mutations.sh $(BUILD) $(CRASH_CUTS) $(MUTATE)

# Each file and folder of a spool damaged in each way, the daemons stopped and running; `make check` has
# each file once, and each way to damage a segment and the index.
.PHONY: damage
damage: all
	$(Q)TEST_SLOW=$(TEST_SLOW) python3 tests/e2e/damage.py --build $(BUILD) --every

# --- faults ----------------------------------------------------------------
# A library that is preloaded makes the n-th call of a kind fail in the programs as they are.
#   make faults                 each n that a scenario comes to
# `make check` plays some of them.
FAULT := $(BUILD)/tests/faults/fault.so
$(FAULT): tests/faults/fault.c
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(STD) $(WARN) $(CFLAGS) -fPIC -shared -o $@ $<

# Below them, in one process: each call to the disk fails in each way, with each end of process or power.
.PHONY: failures
failures: $(BUILD)/tests/unit/spool/test_failure
	$(Q)FAULT_ALL_ENDS=1 UNIT_TIMEOUT=3600 sh tests/run-units.sh $(BUILD) $<

.PHONY: faults
faults: all $(FAULT)
	$(Q)for program in smtpd pop3d pop_admin start; do \
	    TEST_SLOW=$(TEST_SLOW) python3 tests/faults/$$program.py --build $(BUILD) --every 1 || exit 1; done

# --- kill -9 and the long run -----------------------------------------------
# `make check` runs the same program for some seconds.  VICTIM=NAME kills one kind alone.
KILLS  ?= 500
.PHONY: kill
kill: all
	$(Q)TEST_SLOW=$(TEST_SLOW) python3 tests/crash/kill.py --build $(BUILD) --kills $(KILLS) $(if $(VICTIM),--only "$(VICTIM)")

MINUTES ?= 30
.PHONY: soak
soak: all
	$(Q)TEST_SLOW=$(TEST_SLOW) python3 tests/soak/soak.py --build $(BUILD) --minutes $(MINUTES)

# --- the whole suite -------------------------------------------------------
# ONLY=TEXT runs the tests in whose name it occurs.  What a sanitizer slows
# down waits longer (TEST_SLOW) and carries less (TEST_LOAD).
TEST_SLOW := $(if $(findstring thread,$(SAN)),8,$(if $(SAN),3,1))
TEST_LOAD := $(if $(findstring thread,$(SAN)),0.1,$(if $(SAN),0.2,1))

# What has threads: the units of net, spool and the daemons, and the daemons under load.
# Those that play in one thread, some of them thousands of times, are left out.
ONE_THREAD := account failure full_disk history limits login password record recover recover_who reindex \
              reindex_damage reindex_sync repair repair_copies resolve retrieved spool update warn warn_failure year
CONCURRENT_UNITS := $(filter-out $(ONE_THREAD:%=$(BUILD)/tests/unit/spool/test_%),$(UNIT_TESTS_net) \
                    $(UNIT_TESTS_spool) $(UNIT_TESTS_smtpd) $(UNIT_TESTS_pop3d))
CONCURRENT := $(addprefix --unit ,$(CONCURRENT_UNITS)) \
              --only tests/unit --only tests/stress --only tests/crash --only tests/e2e/octets \
              --only _first.chat

.PHONY: check check-concurrent
check-concurrent: all $(CONCURRENT_UNITS)
	$(Q)TEST_SLOW=$(TEST_SLOW) TEST_LOAD=$(TEST_LOAD) python3 tests/run.py --build $(BUILD) $(CONCURRENT)
check: all $(UNIT_TESTS) $(REPLAYS) $(CRASH) $(FAULT) $(BUILD)/tests/bench/load
	$(Q)TEST_SLOW=$(TEST_SLOW) TEST_LOAD=$(TEST_LOAD) python3 tests/run.py --build $(BUILD) \
	    $(addprefix --unit ,$(UNIT_TESTS) $(CRASH)) $(addprefix --replay ,$(REPLAYS)) \
	    $(addprefix --only ,$(ONLY))

# Which branches `make check` takes, in a build of its own by gcc.
COVERAGE := $(BUILD)/coverage-check
COVERAGE_EXIT  := $(COVERAGE)/obj/tests/coverage_exit.o
COVERAGE_FLAGS := BUILD=$(COVERAGE) CC=gcc TEST_SLOW=3 TEST_LOAD=0.2 \
    CFLAGS="-O0 -g --coverage -fprofile-update=prefer-atomic -U_FORTIFY_SOURCE" \
    LDFLAGS="--coverage -Wl,--wrap=_exit $(COVERAGE_EXIT)"
# Of no interest itself, and linked into programs that need not be linked anew when it is another.
$(BUILD)/obj/tests/coverage_exit.o: override CFLAGS := $(filter-out --coverage,$(CFLAGS))
.PHONY: coverage
coverage:
	$(Q)$(MAKE) -s $(COVERAGE_FLAGS) $(COVERAGE_EXIT)
	$(Q)find $(COVERAGE) -name '*.gcda' -delete
	$(Q)$(MAKE) -s $(COVERAGE_FLAGS) check; \
	    rc=$$?; python3 tests/coverage.py --build $(COVERAGE) || rc=1; exit $$rc

# --- what can be said without running --------------------------------------
LINT_SOURCES := $(foreach f,$(FLOORS),$(call sources,common/$(f))) \
                $(foreach p,$(PROGRAMS),$(call sources,$(p))) \
                $(wildcard tests/unit/*/*.c tests/fuzz/*.c tests/lib/*.c tests/bench/*.c tests/crash/*.c tests/faults/*.c)
.PHONY: lint lint-objects format
lint-objects: $(call objects,$(LINT_SOURCES))
lint: $(BUILD)/gen/schema_steps.h
	$(Q)python3 tests/lint/run.py --build $(BUILD)
format:
	$(Q)clang-format -i $(filter-out tests/%,$(LINT_SOURCES))

# --- demo and installation -------------------------------------------------
.PHONY: demo install
demo: all
	$(Q)ONCE=$(ONCE) sh init/demo.sh $(BUILD)

# Configuration files that are there already are never touched.
SBINDIR    := $(PREFIX)/sbin
UNITDIR    ?= $(PREFIX)/lib/systemd/system
SYSCONFDIR ?= /etc
install: all
	install -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(UNITDIR) $(DESTDIR)$(SYSCONFDIR)/restante
	install -m 755 $(addprefix $(BUILD)/,$(PROGRAMS)) $(DESTDIR)$(SBINDIR)
	install -m 644 init/restante.conf.example $(DESTDIR)$(SYSCONFDIR)/restante
	test -e $(DESTDIR)$(SYSCONFDIR)/restante/quota-warning.txt || \
	    install -m 644 init/quota-warning.txt $(DESTDIR)$(SYSCONFDIR)/restante
	for unit in $(wildcard init/*.service init/*.socket init/*.target); do \
	    sed 's,/usr/local/sbin,$(SBINDIR),g' $$unit > $(DESTDIR)$(UNITDIR)/$$(basename $$unit) && \
	    chmod 644 $(DESTDIR)$(UNITDIR)/$$(basename $$unit) || exit 1; done

# --- bench -----------------------------------------------------------------
# Figures hold within one run, on a machine that does nothing else.  QUICK=1: two minutes;
# TINY=1: all cases with hardly any mail, to see that they run; BENCH holds further options, as
# bench.py --help has them.
LOAD_OBJECTS := $(call objects,$(filter-out tests/bench/upkeep.c,$(call sources,tests/bench)))
$(BUILD)/tests/bench/load: $(LOAD_OBJECTS)
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

.PHONY: bench bench-growth
bench-growth: all $(BUILD)/tests/bench/load
	$(Q)python3 tests/bench/growth.py --build $(BUILD) $(if $(QUICK),--quick) $(BENCH)
bench: all $(BUILD)/tests/bench/load
	$(Q)python3 tests/bench/bench.py --build $(BUILD) $(if $(QUICK),--quick) $(if $(TINY),--tiny) $(BENCH)

# Instructions for each message under callgrind, beside those kept in tests/bench/instructions.txt: they
# hold on a busy machine too.  KEEP=1 keeps the new ones.  ONLY=TEXT: dialogues in whose name it is.
.PHONY: instructions
instructions: all $(BUILD)/tests/bench/load
	$(Q)python3 tests/bench/instructions.py --build $(BUILD) $(if $(KEEP),--keep) --only "$(ONLY)"
