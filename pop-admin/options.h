/*
 * options - from the command line to a command: options, usage, dispatch.
 */
#ifndef POP_ADMIN_OPTIONS_H
#define POP_ADMIN_OPTIONS_H

/* Does what the command line says; returns the exit code.  `argv` is reordered. */
int options_run(int argc, char **argv);

#endif
