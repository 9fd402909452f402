/*
 * trace_internal - what trace.c and trace_vfs.c share.  Everything here is called between
 * trace_lock() and trace_unlock(), which keeps errno.
 */
#ifndef TESTS_CRASH_TRACE_INTERNAL_H
#define TESTS_CRASH_TRACE_INTERNAL_H

#include <dirent.h>
#include <pthread.h>

#include "trace.h"

void trace_lock(void);
void trace_unlock(void);

/* A note about the file with this inode, to be filled in; NULL when it is not followed. */
struct op *trace_note(ino_t, enum op_kind);
struct op *trace_note_name(enum op_kind, enum folder, const char *name);
struct op *trace_note_new(enum op_kind, enum folder, const char *name, ino_t);
/* The call is to fail. */
bool trace_fails(enum op_kind, ino_t);
bool trace_folder(ino_t, enum folder *folder_r);

#endif
